using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Backends.Cpu.Kernels;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cpu;

public sealed unsafe class DepthwiseConvTests : IDisposable
{
    // Nine products and a bias in fp32 on values of order 1.
    private const double Tolerance = 2e-6;

    private readonly WorkerPool _pool = new(3);

    public void Dispose() => _pool.Dispose();

    private sealed record Case(int N, int H, int W, int Groups, int Multiplier, int Dilation)
    {
        public int Outputs => Groups * Multiplier;
    }

    private static IEnumerable<Case> Cases()
    {
        Random random = new(11);
        yield return new(1, 1, 1, 1, 1, 1);
        yield return new(2, 1, 1, 17, 2, 5);
        yield return new(1, 3, 2, 64, 2, 5);
        yield return new(2, 23, 30, 64, 2, 1);
        yield return new(1, 32, 64, 48, 1, 3);
        for (int i = 0; i < 40; i++)
        {
            yield return new(
                random.Next(1, 3), random.Next(1, 14), random.Next(1, 14), random.Next(1, 70), random.Next(1, 4), random.Next(1, 7));
        }
    }

    private static void ForEachTap(Case s, Action<int, int, int, int, int, int, int> visit)
    {
        for (int n = 0; n < s.N; n++)
        for (int y = 0; y < s.H; y++)
        for (int x = 0; x < s.W; x++)
        for (int tap = 0; tap < 9; tap++)
        {
            int r = y + (tap / 3 - 1) * s.Dilation, k = x + (tap % 3 - 1) * s.Dilation;
            if (r < 0 || r >= s.H || k < 0 || k >= s.W) continue;
            for (int o = 0; o < s.Outputs; o++) visit(n, y, x, r, k, tap, o);
        }
    }

    private static Doubles Convolve(Case s, Doubles x, double[] weights, double[]? bias, bool relu)
    {
        Doubles y = new(s.N, s.H, s.W, s.Outputs);
        for (int i = 0; i < y.Data.Length; i++) y.Data[i] = bias?[i % s.Outputs] ?? 0;
        ForEachTap(s, (n, r, c, xr, xc, tap, o) => y[n, r, c, o] += x[n, xr, xc, o / s.Multiplier] * weights[tap * s.Outputs + o]);
        for (int i = 0; relu && i < y.Data.Length; i++) y.Data[i] = Math.Max(y.Data[i], 0);
        return y;
    }

    [Fact]
    public void ForwardMatchesPlainLoops()
    {
        Random random = new(1);
        foreach (Case s in Cases())
        {
            bool relu = random.Next(2) == 0, biased = random.Next(2) == 0;
            using Slice x = Slice.Random(random, s.N, s.H, s.W, s.Groups).Randomise(random);
            using Slice y = Slice.Random(random, s.N, s.H, s.W, s.Outputs);
            using Vector w = new Vector(9 * s.Outputs).Randomise(random), b = new Vector(s.Outputs).Randomise(random);
            Doubles expected = Convolve(s, x.ToDoubles(), w.ToDoubles(), biased ? b.ToDoubles() : null, relu);
            DepthwiseConv.Run(_pool, [new DepthwiseBranch(x.Map, y.Map, w.Data, biased ? b.Data : null, s.Multiplier, s.Dilation)], relu);
            Doubles.AssertClose(s.ToString(), expected, y, Tolerance);
        }
    }

    [Fact]
    public void DataGradientMatchesPlainLoops()
    {
        Random random = new(2);
        foreach (Case s in Cases())
        foreach (bool accumulate in new[] { false, true })
        {
            using Slice dx = Slice.Random(random, s.N, s.H, s.W, s.Groups);
            using Slice dy = Slice.Random(random, s.N, s.H, s.W, s.Outputs).Randomise(random);
            using Vector w = new Vector(9 * s.Outputs).Randomise(random);
            if (accumulate) dx.Randomise(random);
            Doubles expected = accumulate ? dx.ToDoubles() : new Doubles(s.N, s.H, s.W, s.Groups), gradient = dy.ToDoubles();
            double[] weights = w.ToDoubles();
            ForEachTap(s, (n, r, c, xr, xc, tap, o) =>
                expected[n, xr, xc, o / s.Multiplier] += gradient[n, r, c, o] * weights[tap * s.Outputs + o]);
            DepthwiseConv.DataGradient(_pool, [new DepthwiseBranch(dx.Map, dy.Map, w.Data, null, s.Multiplier, s.Dilation, accumulate)]);
            Doubles.AssertClose(s.ToString(), expected, dx, Tolerance);
        }
    }

    [Fact]
    public void WeightGradientMatchesPlainLoops()
    {
        Random random = new(3);
        using DepthwiseWeightGradient kernel = new(320);
        foreach (Case s in Cases())
        foreach (bool accumulate in new[] { false, true })
        {
            using Slice x = Slice.Random(random, s.N, s.H, s.W, s.Groups).Randomise(random);
            using Slice dy = Slice.Random(random, s.N, s.H, s.W, s.Outputs).Randomise(random);
            using Vector dw = new(9 * s.Outputs);
            if (accumulate) dw.Randomise(random);
            double[] expected = accumulate ? dw.ToDoubles() : new double[9 * s.Outputs];
            Doubles input = x.ToDoubles(), gradient = dy.ToDoubles();
            ForEachTap(s, (n, r, c, xr, xc, tap, o) =>
                expected[tap * s.Outputs + o] += gradient[n, r, c, o] * input[n, xr, xc, o / s.Multiplier]);
            kernel.Run(_pool, [new DepthwiseBranch(x.Map, dy.Map, dw.Data, null, s.Multiplier, s.Dilation, accumulate)]);
            dw.AssertClose(s.ToString(), expected, Tolerance);
        }
    }

    [Fact]
    public void BranchesOfADwrModuleRunInOnePass()
    {
        // Three groups of one map into slices of one map: the module of stage 4, with the branches sharing the first group backward.
        Random random = new(4);
        Case[] cases = [new(2, 11, 9, 24, 2, 1), new(2, 11, 9, 24, 1, 3), new(2, 11, 9, 24, 1, 5)];
        using Slice x = new Slice(2, 11, 9, 72).Randomise(random), y = new(2, 11, 9, 96, 1, 2), dx = new(2, 11, 9, 24, 3, 4);
        using Vector w = new Vector(9 * 96).Randomise(random), dw = new(9 * 96);
        DepthwiseBranch[] forward = new DepthwiseBranch[3], backward = new DepthwiseBranch[3], weight = new DepthwiseBranch[3];
        Doubles expected = new(2, 11, 9, 24);
        int first = 0;
        for (int i = 0; i < 3; i++)
        {
            Case s = cases[i];
            Map slice = new(x.Map.Data + 24 * i, 2, 11, 9, 24, 72);
            Map output = new(y.Map.Data + first, 2, 11, 9, s.Outputs, y.Map.PixelStride);
            forward[i] = new(slice, output, w.Data + 9 * first, null, s.Multiplier, s.Dilation);
            weight[i] = new(slice, output, dw.Data + 9 * first, null, s.Multiplier, s.Dilation);
            backward[i] = new(dx.Map, output, w.Data + 9 * first, null, s.Multiplier, s.Dilation, accumulate: i > 0);
            first += s.Outputs;
        }
        DepthwiseConv.Run(_pool, forward, relu: false);
        DepthwiseConv.DataGradient(_pool, backward);
        using DepthwiseWeightGradient kernel = new(96);
        kernel.Run(_pool, weight);

        Doubles all = x.ToDoubles(), joined = new(2, 11, 9, 96);
        double[] weights = w.ToDoubles(), gradient = new double[9 * 96];
        first = 0;
        for (int i = 0; i < 3; i++)
        {
            Case s = cases[i];
            int channel = 24 * i, start = first;
            ForEachTap(s, (n, r, c, xr, xc, tap, o) =>
                joined[n, r, c, start + o] += all[n, xr, xc, channel + o / s.Multiplier] * weights[9 * start + tap * s.Outputs + o]);
            ForEachTap(s, (n, r, c, xr, xc, tap, o) =>
            {
                expected[n, xr, xc, o / s.Multiplier] += joined[n, r, c, start + o] * weights[9 * start + tap * s.Outputs + o];
                gradient[9 * start + tap * s.Outputs + o] += joined[n, r, c, start + o] * all[n, xr, xc, channel + o / s.Multiplier];
            });
            first += s.Outputs;
        }
        Doubles.AssertClose("y", joined, y, Tolerance);
        Doubles.AssertClose("dx", expected, dx, 2 * Tolerance);
        dw.AssertClose("dw", gradient, 2 * Tolerance);
    }

    [Fact]
    public void ResultsDoNotDependOnTheNumberOfWorkers()
    {
        float[]? first = null;
        using DepthwiseWeightGradient kernel = new(128);
        foreach (int workers in new[] { 1, 2, 5, 5 })
        {
            using WorkerPool pool = new(workers);
            Random random = new(7);
            using Slice x = new Slice(2, 33, 40, 64).Randomise(random), dy = new Slice(2, 33, 40, 128).Randomise(random);
            using Vector dw = new(9 * 128);
            kernel.Run(pool, [new DepthwiseBranch(x.Map, dy.Map, dw.Data, null, 2, 3)]);
            float[] all = dw.ToArray();
            first ??= all;
            Assert.True(first.AsSpan().SequenceEqual(all), $"{workers} workers give other bits");
        }
    }
}
