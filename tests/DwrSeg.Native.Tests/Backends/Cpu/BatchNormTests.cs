using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Backends.Cpu.Kernels;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cpu;

public sealed unsafe class BatchNormTests : IDisposable
{
    private const float Epsilon = 1e-5f, Momentum = 0.1f;

    // fp32 arithmetic of a few roundings on values of order 1; sums are in fp64.
    private const double Tolerance = 2e-6;

    private readonly WorkerPool _pool = new(3);
    private readonly BatchNorm _kernel = new(320);

    public void Dispose()
    {
        _kernel.Dispose();
        _pool.Dispose();
    }

    private static (double[] Mean, double[] Variance) Moments(Doubles x)
    {
        double[] mean = new double[x.C], variance = new double[x.C];
        int count = x.N * x.H * x.W;
        for (int i = 0; i < x.Data.Length; i++) mean[i % x.C] += x.Data[i] / count;
        for (int i = 0; i < x.Data.Length; i++) variance[i % x.C] += Math.Pow(x.Data[i] - mean[i % x.C], 2) / count;
        return (mean, variance);
    }

    private static Doubles Normalise(Doubles x, double[] gamma, double[] beta, double[] mean, double[] variance, bool relu)
    {
        Doubles y = new(x.N, x.H, x.W, x.C);
        for (int i = 0; i < x.Data.Length; i++)
        {
            int c = i % x.C;
            double v = (x.Data[i] - mean[c]) / Math.Sqrt(variance[c] + Epsilon) * gamma[c] + beta[c];
            y.Data[i] = relu ? Math.Max(v, 0) : v;
        }
        return y;
    }

    public static IEnumerable<TheoryDataRow<int, int, int, int, bool>> Shapes()
    {
        yield return (1, 1, 1, 5, false);
        yield return (2, 1, 1, 16, true);
        yield return (1, 7, 9, 1, true);
        yield return (2, 5, 3, 37, false);
        yield return (1, 13, 11, 320, true);
        yield return (2, 45, 60, 64, true);
        yield return (1, 67, 71, 24, false);
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void TrainingMatchesTheDefinition(int n, int h, int w, int c, bool relu)
    {
        Random random = new(n + h + c);
        using Slice x = Slice.Random(random, n, h, w, c).Randomise(random, 2, 0.5f), y = Slice.Random(random, n, h, w, c);
        using Vector gamma = new Vector(c).Randomise(random), beta = new Vector(c).Randomise(random);
        using Vector runningMean = new Vector(c).Randomise(random), runningVariance = new Vector(c).Randomise(random, 0.5f, 1);
        using Vector mean = new(c), inverse = new(c);
        double[] oldMean = runningMean.ToDoubles(), oldVariance = runningVariance.ToDoubles();
        _kernel.Train(
            _pool, x.Map, gamma.Data, beta.Data, runningMean.Data, runningVariance.Data, Epsilon, Momentum, y.Map, mean.Data, inverse.Data,
            relu);

        (double[] m, double[] v) = Moments(x.ToDoubles());
        Doubles expected = Normalise(x.ToDoubles(), gamma.ToDoubles(), beta.ToDoubles(), m, v, relu);
        // A single value has variance 0 and so an inverse deviation of 316: its rounding shows more.
        Doubles.AssertClose("y", expected, y, n * h * w == 1 ? 1e-4 : Tolerance);
        mean.AssertClose("mean", m, 1e-7);
        inverse.AssertClose("inverse deviation", [.. v.Select(s => 1 / Math.Sqrt(s + Epsilon))], 1e-6);
        double count = n * h * w;
        runningMean.AssertClose("running mean", [.. oldMean.Select((o, i) => o + 0.1 * (m[i] - o))], 1e-6);
        runningVariance.AssertClose(
            "running variance", [.. oldVariance.Select((o, i) => o + 0.1 * (v[i] * count / Math.Max(count - 1, 1) - o))], 1e-6);
    }

    [Fact]
    public void StatisticsSurviveAMeanFarAboveTheDeviation()
    {
        Random random = new(3);
        using Slice x = new Slice(2, 61, 53, 21).Randomise(random, 0.01f, 100), y = new(2, 61, 53, 21);
        using Vector ones = new Vector(21).Randomise(random, 0, 1), zeros = new Vector(21).Randomise(random, 0);
        using Vector mean = new(21), inverse = new(21), running = new Vector(42).Randomise(random);
        _kernel.Train(
            _pool, x.Map, ones.Data, zeros.Data, running.Data, running.Data + 21, Epsilon, Momentum, y.Map, mean.Data, inverse.Data, false);
        (double[] m, double[] v) = Moments(x.ToDoubles());
        mean.AssertClose("mean", m, 1e-7);
        inverse.AssertClose("inverse deviation", [.. v.Select(s => 1 / Math.Sqrt(s + Epsilon))], 1e-6);
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void InferenceUsesRunningStatistics(int n, int h, int w, int c, bool relu)
    {
        Random random = new(n + h + c);
        using Slice x = Slice.Random(random, n, h, w, c).Randomise(random), y = Slice.Random(random, n, h, w, c);
        using Vector gamma = new Vector(c).Randomise(random), beta = new Vector(c).Randomise(random);
        using Vector mean = new Vector(c).Randomise(random), variance = new Vector(c).Randomise(random, 0.5f, 1);
        _kernel.Infer(_pool, x.Map, gamma.Data, beta.Data, mean.Data, variance.Data, Epsilon, y.Map, relu);
        Doubles expected = Normalise(x.ToDoubles(), gamma.ToDoubles(), beta.ToDoubles(), mean.ToDoubles(), variance.ToDoubles(), relu);
        Doubles.AssertClose("y", expected, y, Tolerance);
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void GradientMatchesTheDefinition(int n, int h, int w, int c, bool relu)
    {
        if (n * h * w == 1) return;
        foreach (ReluMask mask in relu ? [ReluMask.FromOutput, ReluMask.FromInput] : new[] { ReluMask.None })
        foreach (bool accumulate in new[] { false, true })
        {
            Random random = new(n + h + c);
            using Slice x = Slice.Random(random, n, h, w, c).Randomise(random, 2, 0.5f), y = Slice.Random(random, n, h, w, c);
            using Slice dy = Slice.Random(random, n, h, w, c).Randomise(random), dx = Slice.Random(random, n, h, w, c);
            using Vector gamma = new Vector(c).Randomise(random), beta = new Vector(c).Randomise(random);
            using Vector mean = new(c), inverse = new(c), dgamma = new(c), dbeta = new(c), state = new Vector(2 * c).Randomise(random);
            if (accumulate) dx.Randomise(random);
            Doubles expected = accumulate ? dx.ToDoubles() : new Doubles(n, h, w, c);
            _kernel.Train(
                _pool, x.Map, gamma.Data, beta.Data, state.Data, state.Data + c, Epsilon, Momentum, y.Map, mean.Data, inverse.Data, relu);
            Doubles output = y.ToDoubles();
            _kernel.Backward(
                _pool, x.Map, gamma.Data, mask == ReluMask.FromInput ? beta.Data : null, mean.Data, inverse.Data,
                mask == ReluMask.FromOutput ? y.Map : default, dy.Map, mask, dx.Map, dgamma.Data, dbeta.Data, accumulate);

            (double[] gradGamma, double[] gradBeta) = AddGradient(
                x.ToDoubles(), gamma.ToDoubles(), dy.ToDoubles(), relu ? output : null, expected);
            // Two pixels nearly cancel in dx, and its terms are scaled by up to 1/deviation.
            double tolerance = n * h * w == 2 ? 1e-4 : 5e-6;
            Doubles.AssertClose($"dx {mask} {accumulate}", expected, dx, tolerance);
            dgamma.AssertClose("dgamma", gradGamma, tolerance);
            dbeta.AssertClose("dbeta", gradBeta, tolerance);
        }
    }

    private static (double[] Gamma, double[] Beta) AddGradient(Doubles x, double[] gamma, Doubles dy, Doubles? reluOutput, Doubles dx)
    {
        (double[] mean, double[] variance) = Moments(x);
        int count = x.N * x.H * x.W;
        double[] dgamma = new double[x.C], dbeta = new double[x.C];
        double Masked(int i) => reluOutput is null || reluOutput.Data[i] > 0 ? dy.Data[i] : 0;
        double Normal(int i) => (x.Data[i] - mean[i % x.C]) / Math.Sqrt(variance[i % x.C] + Epsilon);
        for (int i = 0; i < x.Data.Length; i++)
        {
            dbeta[i % x.C] += Masked(i);
            dgamma[i % x.C] += Masked(i) * Normal(i);
        }
        for (int i = 0; i < x.Data.Length; i++)
        {
            int c = i % x.C;
            dx.Data[i] += gamma[c] / Math.Sqrt(variance[c] + Epsilon) * (Masked(i) - dbeta[c] / count - Normal(i) * dgamma[c] / count);
        }
        return (dgamma, dbeta);
    }

    [Fact]
    public void TheDefinitionOfTheGradientAgreesWithFiniteDifferences()
    {
        Random random = new(5);
        using Slice x = new Slice(2, 3, 4, 3).Randomise(random, 2), dy = new Slice(2, 3, 4, 3).Randomise(random);
        using Vector gamma = new Vector(3).Randomise(random), beta = new Vector(3).Randomise(random);
        Doubles at = x.ToDoubles(), dx = new(2, 3, 4, 3);
        double[] g = gamma.ToDoubles(), b = beta.ToDoubles();
        Doubles Output()
        {
            (double[] m, double[] v) = Moments(at);
            return Normalise(at, g, b, m, v, relu: true);
        }

        (double[] dgamma, double[] dbeta) = AddGradient(at, g, dy.ToDoubles(), Output(), dx);
        double Slope(ref double value)
        {
            const double step = 1e-5;
            double old = value;
            value = old + step;
            double above = Output().Dot(dy.ToDoubles());
            value = old - step;
            double below = Output().Dot(dy.ToDoubles());
            value = old;
            return (above - below) / (2 * step);
        }

        // Central differences: the error is of the order of step² and of rounding / step, both about 1e-10.
        for (int i = 0; i < at.Data.Length; i++) Assert.Equal(dx.Data[i], Slope(ref at.Data[i]), 1e-7);
        for (int c = 0; c < 3; c++)
        {
            Assert.Equal(dgamma[c], Slope(ref g[c]), 1e-7);
            Assert.Equal(dbeta[c], Slope(ref b[c]), 1e-7);
        }
    }

    [Fact]
    public void ResultsDoNotDependOnTheNumberOfWorkers()
    {
        float[]? first = null;
        foreach (int workers in new[] { 1, 2, 5, 5 })
        {
            using WorkerPool pool = new(workers);
            Random random = new(7);
            using Slice x = new Slice(2, 90, 120, 33).Randomise(random), dy = new Slice(2, 90, 120, 33).Randomise(random);
            using Slice y = new(2, 90, 120, 33), dx = new(2, 90, 120, 33);
            using Vector p = new Vector(33 * 8).Randomise(random);
            float* v = p.Data;
            _kernel.Train(pool, x.Map, v, v + 33, v + 66, v + 99, Epsilon, Momentum, y.Map, v + 132, v + 165, true);
            _kernel.Backward(pool, x.Map, v, v + 33, v + 132, v + 165, y.Map, dy.Map, ReluMask.FromOutput, dx.Map, v + 198, v + 231, false);
            float[] all = [.. y.ToArray(), .. dx.ToArray(), .. p.ToArray()];
            first ??= all;
            Assert.True(first.AsSpan().SequenceEqual(all), $"{workers} workers give other bits");
        }
    }
}
