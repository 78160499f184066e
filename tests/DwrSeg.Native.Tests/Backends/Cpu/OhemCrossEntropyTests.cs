using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Backends.Cpu.Kernels;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cpu;

public sealed unsafe class OhemCrossEntropyTests : IDisposable
{
    private const byte Ignore = 255;

    private readonly WorkerPool _pool = new(3);

    public void Dispose() => _pool.Dispose();

    private static double[] LogSoftmax(Doubles logits, int pixel)
    {
        ReadOnlySpan<double> values = logits.Data.AsSpan(pixel * logits.C, logits.C);
        double max = double.NegativeInfinity, sum = 0;
        foreach (double v in values) max = Math.Max(max, v);
        foreach (double v in values) sum += Math.Exp(v - max);
        double[] result = new double[logits.C];
        for (int c = 0; c < result.Length; c++) result[c] = values[c] - max - Math.Log(sum);
        return result;
    }

    private static (double Loss, double[] Weights) Plain(Doubles logits, byte[] labels, byte ignore, double threshold, double minKept)
    {
        double[] weights = new double[labels.Length];
        (int Pixel, double Loss)[] valid =
            [.. Enumerable.Range(0, labels.Length).Where(p => labels[p] != ignore).Select(p => (p, -LogSoftmax(logits, p)[labels[p]]))];
        (int Pixel, double Loss)[] kept = threshold >= 1 ? valid : [.. valid.Where(v => v.Loss > -Math.Log(threshold))];
        int least = (int)(valid.Length * minKept);
        if (kept.Length < least) kept = [.. valid.OrderByDescending(v => v.Loss).ThenBy(v => v.Pixel).Take(least)];
        foreach ((int pixel, _) in kept) weights[pixel] = 1.0 / kept.Length;
        return (kept.Length == 0 ? 0 : kept.Average(v => v.Loss), weights);
    }

    private static byte[] Labels(Random random, int count, int classes, double ignored, byte ignore = Ignore) =>
        [.. Enumerable.Range(0, count).Select(_ => random.NextDouble() < ignored ? ignore : (byte)random.Next(classes))];

    private (float Loss, float[] Weights) Run(
        Map logits, byte[] labels, byte ignore, float threshold, double minKept, WorkerPool? pool = null)
    {
        using OhemCrossEntropy kernel = new(logits.Pixels);
        using Vector weights = new(labels.Length);
        float loss = float.NaN;
        fixed (byte* l = labels) kernel.Run(pool ?? _pool, logits, l, ignore, threshold, minKept, &loss, weights.Data);
        return (loss, weights.ToArray());
    }

    [Theory]
    [InlineData(1, 1, 1, 1, 0.7f, 0, 0)]
    [InlineData(1, 1, 1, 11, 0.7f, 0.0625, 0)]
    [InlineData(2, 37, 41, 11, 0.7f, 0.0625, 0.1)]
    [InlineData(2, 37, 41, 19, 0.05f, 0.5, 0.1)]
    [InlineData(1, 3, 5, 2, 0.001f, 1, 0.3)]
    [InlineData(1, 90, 120, 19, 1, 0.0625, 0.5)]
    [InlineData(2, 60, 90, 33, 0.001f, 0.0625, 0.02)]
    [InlineData(1, 4, 4, 255, 0.7f, 0.0625, 0)]
    public void KeepsTheHardPixels_OrFillsUpWithTheHardest(
        int n, int h, int w, int classes, float threshold, double minKept, double ignored)
    {
        Random random = new(n + h + classes);
        using Slice logits = Slice.Random(random, n, h, w, classes).Randomise(random, 4);
        byte[] labels = Labels(random, n * h * w, classes, ignored, ignore: (byte)(classes == 255 ? 255 : classes));
        (float loss, float[] weights) = Run(logits.Map, labels, (byte)classes, threshold, minKept);
        (double expectedLoss, double[] expectedWeights) = Plain(logits.ToDoubles(), labels, (byte)classes, threshold, minKept);
        // Pixel losses have an error of a few roundings at values up to 10.
        Assert.Equal(expectedLoss, loss, 2e-6 * Math.Max(1, expectedLoss));
        Doubles.AssertClose("weights", expectedWeights, [.. weights.Select(v => (double)v)], 1e-7);
        logits.AssertNeighboursUntouched("logits");
    }

    [Fact]
    public void OfEqualLossesTheFirstAreKept_ExactlyAsManyAsWanted()
    {
        // Two kinds of pixels only: all of the hard kind are kept, and the rest is filled up with the first of the easy kind.
        using Slice logits = new(2, 100, 100, 11);
        Random random = new(1);
        for (int p = 0; p < 20000; p++)
        for (int c = 0; c < 11; c++)
            logits[p / 10000, p / 100 % 100, p % 100, c] = c == 3 ? (p % 50 == 7 ? 1 : 2) : 0;
        byte[] labels = new byte[20000];
        Array.Fill(labels, (byte)3);
        for (int i = 0; i < 500; i++) labels[random.Next(20000)] = Ignore;
        (float loss, float[] weights) = Run(logits.Map, labels, Ignore, 0.01f, 0.25);
        (double expectedLoss, double[] expectedWeights) = Plain(logits.ToDoubles(), labels, Ignore, 0.01, 0.25);
        Assert.Equal((int)(labels.Count(l => l != Ignore) * 0.25), weights.Count(v => v > 0));
        Assert.Equal(expectedWeights.Select(v => v > 0), weights.Select(v => v > 0));
        Assert.Equal(expectedLoss, loss, 1e-6);
    }

    [Fact]
    public void AllPixelsIgnored_GivesZeroLossAndNoGradient()
    {
        Random random = new(2);
        using Slice logits = new Slice(1, 9, 9, 11).Randomise(random), gradient = new(1, 9, 9, 11);
        byte[] labels = new byte[81];
        Array.Fill(labels, Ignore);
        (float loss, float[] weights) = Run(logits.Map, labels, Ignore, 0.7f, 1 / 16.0);
        Assert.Equal(0, loss);
        Assert.All(weights, v => Assert.Equal(0, v));
        float one = 1;
        fixed (byte* l = labels)
        fixed (float* w = weights) CrossEntropyGradient.Run(_pool, logits.Map, l, w, &one, gradient.Map, accumulate: false);
        Assert.All(gradient.ToArray(), v => Assert.Equal(0, v));
    }

    [Fact]
    public void LargeLogitsStayFinite_AndNaNShows()
    {
        using Slice logits = new Slice(1, 1, 5, 3).Randomise(new Random(3), 1, 0);
        for (int c = 0; c < 3; c++)
        {
            logits[0, 0, 0, c] = 1e30f;
            logits[0, 0, 1, c] = c == 0 ? 3e4f : -3e4f;
            logits[0, 0, 2, c] = c == 0 ? 0 : float.NegativeInfinity;
        }
        (float loss, _) = Run(logits.Map, [1, 0, 0, Ignore, Ignore], Ignore, 1, 0);
        Assert.Equal(Math.Log(3) / 3, loss, 1e-6);
        (loss, _) = Run(logits.Map, [1, 1, 0, Ignore, Ignore], Ignore, 1, 0);
        Assert.Equal((Math.Log(3) + 6e4) / 3, loss, 1e-2);
        logits[0, 0, 3, 1] = float.NaN;
        foreach (float threshold in new[] { 1, 0.7f, 1e-30f })
            Assert.True(float.IsNaN(Run(logits.Map, [1, 0, 0, 2, Ignore], Ignore, threshold, 0.3).Loss), $"threshold {threshold}");
    }

    [Fact]
    public void AWrongLabelIsReportedWithItsPlace()
    {
        using Slice logits = new Slice(2, 5, 7, 11).Randomise(new Random(4));
        byte[] labels = new byte[70];
        (labels[35 + 2 * 7 + 3], labels[60]) = (11, 200);
        InvalidDataException error = Assert.Throws<InvalidDataException>(() => Run(logits.Map, labels, Ignore, 0.7f, 1 / 16.0));
        Assert.Contains("label 11 at image 1 of the batch, row 2, column 3", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void GradientMatchesPlainLoops_AndFiniteDifferences()
    {
        Random random = new(5);
        foreach ((int n, int h, int w, int classes) in new[] { (1, 1, 1, 2), (2, 7, 9, 11), (1, 13, 17, 19), (1, 4, 4, 33) })
        foreach (bool accumulate in new[] { false, true })
        {
            int pixels = n * h * w;
            using Slice logits = Slice.Random(random, n, h, w, classes).Randomise(random, 4);
            using Slice gradient = Slice.Random(random, n, h, w, classes);
            if (accumulate) gradient.Randomise(random);
            byte[] labels = Labels(random, pixels, classes, 0.2);
            float[] weights = [.. labels.Select(l => l == Ignore || random.Next(3) == 0 ? 0 : random.NextSingle())];
            const float scale = 0.7f;
            float dLoss = scale;
            Doubles x = logits.ToDoubles(), expected = accumulate ? gradient.ToDoubles() : new Doubles(n, h, w, classes);
            double Loss(int p) => weights[p] == 0 ? 0 : -LogSoftmax(x, p)[labels[p]] * weights[p] * scale;
            for (int p = 0; p < pixels; p++)
            for (int c = 0; c < classes; c++)
            {
                int i = p * classes + c;
                double softmax = Math.Exp(LogSoftmax(x, p)[c]);
                double slope = weights[p] * (softmax - (labels[p] == c ? 1 : 0)) * scale;
                expected.Data[i] += slope;
                // Central differences: error of the order of step² and of rounding / step, both about 1e-10.
                const double step = 1e-5;
                double old = x.Data[i];
                x.Data[i] = old + step;
                double above = Loss(p);
                x.Data[i] = old - step;
                Assert.Equal((above - Loss(p)) / (2 * step), slope, 1e-8);
                x.Data[i] = old;
            }
            fixed (byte* l = labels)
            fixed (float* p = weights) CrossEntropyGradient.Run(_pool, logits.Map, l, p, &dLoss, gradient.Map, accumulate);
            Doubles.AssertClose($"{n}x{h}x{w}x{classes}", expected, gradient, 5e-7);
        }
    }

    [Fact]
    public void APixelOfWeightZeroHasNoGradient_WhateverItsLogits()
    {
        using Slice logits = new(1, 1, 17, 11), gradient = new(1, 1, 17, 11);
        float[] weights = new float[17];
        byte[] labels = new byte[17];
        (weights[16], labels[3]) = (1, Ignore);
        for (int c = 0; c < 11; c++) logits[0, 0, 16, c] = c;
        float one = 1;
        fixed (byte* l = labels)
        fixed (float* w = weights) CrossEntropyGradient.Run(_pool, logits.Map, l, w, &one, gradient.Map, accumulate: false);
        float[] values = gradient.ToArray();
        Assert.All(values[..(16 * 11)], v => Assert.Equal(0, v));
        Assert.All(values[(16 * 11)..], v => Assert.NotEqual(0, v));
    }

    [Fact]
    public void ResultsDoNotDependOnTheNumberOfWorkers()
    {
        Random random = new(6);
        using Slice logits = new Slice(2, 90, 120, 11).Randomise(random, 4);
        byte[] labels = Labels(random, 2 * 90 * 120, 11, 0.1);
        (float Loss, float[] Weights)? first = null;
        foreach (int workers in new[] { 1, 2, 5, 5 })
        {
            using WorkerPool pool = new(workers);
            (float loss, float[] weights) = Run(logits.Map, labels, Ignore, 0.01f, 0.9, pool);
            first ??= (loss, weights);
            Assert.Equal(first.Value.Loss, loss);
            Assert.Equal(first.Value.Weights, weights);
        }
    }
}
