using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Backends.Cpu.Kernels;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cpu;

public sealed class MaxPoolTests : IDisposable
{
    private readonly WorkerPool _pool = new(3);

    public void Dispose() => _pool.Dispose();

    private static IEnumerable<(int N, int H, int W, int C)> Shapes()
    {
        Random random = new(5);
        yield return (1, 1, 1, 1);
        yield return (2, 1, 5, 16);
        yield return (1, 2, 2, 33);
        yield return (2, 45, 60, 32);
        for (int i = 0; i < 30; i++) yield return (random.Next(1, 3), random.Next(1, 13), random.Next(1, 13), random.Next(1, 70));
    }

    private static (Doubles Y, Doubles Dx) Plain(Doubles x, Doubles? dy)
    {
        Doubles y = new(x.N, (x.H + 1) / 2, (x.W + 1) / 2, x.C), dx = new(x.N, x.H, x.W, x.C);
        for (int n = 0; n < x.N; n++)
        for (int r = 0; r < y.H; r++)
        for (int k = 0; k < y.W; k++)
        for (int c = 0; c < x.C; c++)
        {
            double max = double.NegativeInfinity;
            (int R, int K) at = (-1, -1);
            for (int i = Math.Max(2 * r - 1, 0); i <= Math.Min(2 * r + 1, x.H - 1); i++)
            for (int j = Math.Max(2 * k - 1, 0); j <= Math.Min(2 * k + 1, x.W - 1); j++)
            {
                if (at.R >= 0 && !(x[n, i, j, c] > max)) continue;
                (max, at) = (x[n, i, j, c], (i, j));
            }
            y[n, r, k, c] = max;
            if (dy is not null) dx[n, at.R, at.K, c] += dy[n, r, k, c];
        }
        return (y, dx);
    }

    [Fact]
    public void ForwardIsTheMaximumOfEachWindow()
    {
        Random random = new(1);
        foreach ((int n, int h, int w, int c) in Shapes())
        {
            using Slice x = Slice.Random(random, n, h, w, c).Randomise(random, 1, -2);
            using Slice y = Slice.Random(random, n, (h + 1) / 2, (w + 1) / 2, c);
            MaxPool.Run(_pool, x.Map, y.Map);
            Doubles.AssertClose($"{n}x{h}x{w}x{c}", Plain(x.ToDoubles(), null).Y, y, 0);
        }
    }

    [Fact]
    public void GradientGoesToTheFirstMaximum()
    {
        Random random = new(2);
        foreach ((int n, int h, int w, int c) in Shapes())
        foreach (bool accumulate in new[] { false, true })
        {
            using Slice x = Slice.Random(random, n, h, w, c).Randomise(random), dx = Slice.Random(random, n, h, w, c);
            using Slice dy = Slice.Random(random, n, (h + 1) / 2, (w + 1) / 2, c).Randomise(random);
            // Few distinct values, as after a ReLU: ties in most windows.
            for (int i = 0; i < n * h * w * c; i++)
            {
                ref float v = ref x[i / c / w / h, i / c / w % h, i / c % w, i % c];
                v = MathF.Max(0, MathF.Round(v * 2));
            }
            if (accumulate) dx.Randomise(random);
            Doubles expected = Plain(x.ToDoubles(), dy.ToDoubles()).Dx, old = dx.ToDoubles();
            for (int i = 0; accumulate && i < old.Data.Length; i++) expected.Data[i] += old.Data[i];
            MaxPoolGradient.Run(_pool, x.Map, dy.Map, dx.Map, accumulate);
            // Up to four windows and the old value are added in fp32.
            Doubles.AssertClose($"{n}x{h}x{w}x{c}", expected, dx, 4e-7);
        }
    }

    [Fact]
    public void NaNWinsItsWindows_AndMinusInfinityDoesNotLoseItsGradient()
    {
        using Slice x = new Slice(1, 5, 5, 17).Randomise(new Random(3)), y = new(1, 3, 3, 17), dx = new(1, 5, 5, 17);
        for (int c = 0; c < 17; c++) x[0, 1, 1, c] = float.NaN;
        MaxPool.Run(_pool, x.Map, y.Map);
        for (int r = 0; r < 3; r++)
        for (int k = 0; k < 3; k++)
        for (int c = 0; c < 17; c++)
            Assert.Equal(r < 2 && k < 2, float.IsNaN(y[0, r, k, c]));

        using Slice dy = new Slice(1, 3, 3, 17).Randomise(new Random(4));
        for (int i = 0; i < 25; i++)
        for (int c = 0; c < 17; c++)
            x[0, i / 5, i % 5, c] = float.NegativeInfinity;
        Doubles expected = Plain(x.ToDoubles(), dy.ToDoubles()).Dx;
        MaxPoolGradient.Run(_pool, x.Map, dy.Map, dx.Map, accumulate: false);
        Doubles.AssertClose("dx", expected, dx, 4e-7);
    }
}
