using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Backends.Cpu.Kernels;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cpu;

public sealed class ElementwiseTests : IDisposable
{
    private readonly WorkerPool _pool = new(3);

    public void Dispose() => _pool.Dispose();

    // One rounding of fp32 (two where a product is added): 2^-23.
    private const double Tolerance = 1.2e-7;

    private void Compare(string name, Func<double, double, double, double> formula, Action<Map, Map, Map> kernel)
    {
        Random random = new(1);
        for (int i = 0; i < 40; i++)
        {
            int n = random.Next(1, 3), h = random.Next(1, 9), w = random.Next(1, 12), c = random.Next(1, i % 4 == 0 ? 321 : 40);
            if (i == 0) (n, h, w, c) = (2, 61, 67, 64);
            using Slice a = Slice.Random(random, n, h, w, c).Randomise(random);
            using Slice b = Slice.Random(random, n, h, w, c).Randomise(random);
            using Slice y = Slice.Random(random, n, h, w, c).Randomise(random);
            Doubles da = a.ToDoubles(), db = b.ToDoubles(), expected = y.ToDoubles();
            for (int k = 0; k < expected.Data.Length; k++) expected.Data[k] = formula(da.Data[k], db.Data[k], expected.Data[k]);
            kernel(a.Map, b.Map, y.Map);
            Doubles.AssertClose($"{name} {n}x{h}x{w}x{c}", expected, y, Tolerance);
        }
    }

    [Fact]
    public void ReluKeepsPositives() => Compare("relu", (a, _, _) => Math.Max(a, 0), (a, _, y) => Relu.Run(_pool, a, y));

    [Fact]
    public void ReluGradientPassesWhereTheOutputIsPositive()
    {
        Compare("write", (a, b, _) => a > 0 ? b : 0, (a, b, y) => ReluGradient.Run(_pool, a, b, y, accumulate: false));
        Compare("add", (a, b, old) => old + (a > 0 ? b : 0), (a, b, y) => ReluGradient.Run(_pool, a, b, y, accumulate: true));
    }

    [Fact]
    public void AddAdds() => Compare("add", (a, b, _) => a + b, (a, b, y) => Add.Run(_pool, a, b, y));

    [Fact]
    public void AccumulateAddsToTheOutput() => Compare("accumulate", (a, _, old) => old + a, (a, _, y) => Accumulate.Run(_pool, a, y));

    [Fact]
    public void CopyFillAndScaleWriteEveryElement()
    {
        Compare("copy", (a, _, _) => a, (a, _, y) => Copy.Run(_pool, a, y));
        Compare("fill", (_, _, _) => 0.75, (_, _, y) => Fill.Run(_pool, 0.75f, y));
        Compare("scale", (a, _, _) => a * -0.3f, (a, _, y) => ScaledCopy.Run(_pool, -0.3f, a, y));
    }

    [Fact]
    public void ReluLetsNaNThrough_AndItsGradientToo()
    {
        using Slice x = new(1, 1, 1, 19), y = new(1, 1, 1, 19), dy = new(1, 1, 1, 19);
        dy.Randomise(new Random(1));
        Relu.Run(_pool, x.Map, y.Map);
        Assert.All(y.ToArray(), v => Assert.True(float.IsNaN(v)));
        ReluGradient.Run(_pool, y.Map, dy.Map, x.Map, accumulate: false);
        Assert.Equal(dy.ToArray(), x.ToArray());
    }
}
