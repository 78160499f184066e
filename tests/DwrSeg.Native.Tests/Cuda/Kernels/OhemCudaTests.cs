using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Backends.Cpu.Kernels;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed unsafe class OhemCudaTests : IDisposable
{
    private const byte Ignore = 255;

    private readonly WorkerPool _pool = new(2);

    public void Dispose() => _pool.Dispose();

    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void KeepsTheHardPixels_OrFillsUpWithTheHardest(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture);
        (int N, int H, int W, int C, float Threshold, double MinKept, double Ignored)[] cases =
        [
            (1, 1, 1, 1, 0.7f, 0, 0), (1, 1, 1, 11, 0.7f, 0.0625, 0), (2, 37, 41, 11, 0.7f, 0.0625, 0.1), (2, 37, 41, 19, 0.05f, 0.5, 0.1),
            (1, 3, 5, 2, 0.001f, 1, 0.3), (1, 45, 60, 19, 1, 0.0625, 0.5), (2, 30, 45, 33, 0.001f, 0.0625, 0.02), (1, 4, 4, 255, 0.7f, 0.0625, 0),
        ];
        foreach (var s in cases)
        {
            // The first that is no class.
            byte ignore = (byte)s.C;
            using DeviceSlice logits = DeviceSlice.Random(random, device, CudaElement.Float32, (s.N, s.H, s.W, s.C));
            Doubles values = logits.Randomise(random, 4);
            byte[] labels = [.. Enumerable.Range(0, s.N * s.H * s.W).Select(_ => random.NextDouble() < s.Ignored ? ignore : (byte)random.Next(s.C))];
            (float loss, float[] weights) = Run(device, logits.Map, labels, ignore, s.Threshold, s.MinKept);
            (double expectedLoss, double[] expected) = Plain(values, labels, ignore, s.Threshold, s.MinKept);
            // A pixel's loss, up to 12, has an error of a few roundings, and their mean no more.
            Assert.Equal(expectedLoss, loss, 2e-6 * Math.Max(1, expectedLoss));
            Doubles.AssertClose($"{s}, weights", expected, [.. weights.Select(v => (double)v)], 1e-7);
            logits.Read($"{s}, logits");
        }
    }

    // Pixels of a few kinds, whose losses are equal to the bit within a kind and far apart between kinds, on any device: both must keep the same.
    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void OfEqualLossesTheFirstAreKept_AsOnTheCpu(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture);
        foreach (float threshold in new[] { 1, 0.7f, 0.2f, 1e-3f, 0 })
        foreach (double minKept in new[] { 0, 1 / 16.0, 0.37, 1 })
        {
            int h = random.Next(1, 40), w = random.Next(1, 60), kinds = random.Next(1, 7);
            double ignored = random.Next(3) * 0.4;
            CheckAgainstCpu(device, random, (random.Next(1, 3), h, w, random.Next(2, 12)), kinds, ignored, threshold, minKept);
        }
    }

    // More pixels than the device has threads for at once: chunks of several rounds, more chunks than a block has threads.
    [Fact]
    public void ManyPixelsAreKeptAsOnTheCpu()
    {
        foreach (double minKept in new[] { 0.01, 0.6 })
            CheckAgainstCpu(KernelDevice.Usual, new Random(3), (1, 400, 451, 3), 4, 0.1, 1e-3f, minKept);
    }

    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void AllPixelsIgnored_GivesZeroLossAndNoWeight(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        using DeviceSlice logits = new(device, CudaElement.Float32, (1, 9, 9, 11));
        logits.Randomise(new Random(2));
        byte[] labels = new byte[81];
        Array.Fill(labels, Ignore);
        foreach (double minKept in new[] { 0, 1 / 16.0, 1 })
        {
            (float loss, float[] weights) = Run(device, logits.Map, labels, Ignore, 0.7f, minKept);
            Assert.Equal(0, loss);
            Assert.All(weights, v => Assert.Equal(0, v));
        }
    }

    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void LargeLogitsStayFinite_AndNaNShows(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        using DeviceSlice logits = new(device, CudaElement.Float32, (1, 1, 5, 3));
        double[] values = [1e30, 1e30, 1e30, 3e4, -3e4, -3e4, 0, double.NegativeInfinity, double.NegativeInfinity, 1, 2, 3, 0, 0, 0];
        logits.Write(values);
        Assert.Equal(Math.Log(3) / 3, Run(device, logits.Map, [1, 0, 0, Ignore, Ignore], Ignore, 1, 0).Loss, 1e-6);
        Assert.Equal((Math.Log(3) + 6e4) / 3, Run(device, logits.Map, [1, 1, 0, Ignore, Ignore], Ignore, 1, 0).Loss, 1e-2);
        values[10] = double.NaN;
        logits.Write(values);
        foreach (float threshold in new[] { 1, 0.7f, 1e-30f })
        {
            (float loss, float[] weights) = Run(device, logits.Map, [1, 0, 0, 2, Ignore], Ignore, threshold, 0.3);
            Assert.True(float.IsNaN(loss), $"threshold {threshold}");
            Assert.True(weights[3] > 0, $"threshold {threshold}");
        }
    }

    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void AWrongLabelMakesTheLossNaN(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        using DeviceSlice logits = new(device, CudaElement.Float32, (1, 5, 7, 11));
        logits.Randomise(new Random(4));
        foreach (byte wrong in new byte[] { 11, 254 })
        {
            byte[] labels = new byte[35];
            labels[20] = wrong;
            foreach (float threshold in new[] { 1, 0.7f, 1e-30f })
                Assert.True(float.IsNaN(Run(device, logits.Map, labels, Ignore, threshold, 0.1).Loss));
        }
    }

    [Fact]
    public void TheSameTwiceGivesTheSameBits()
    {
        KernelDevice device = KernelDevice.Usual;
        Random random = new(6);
        using DeviceSlice logits = new(device, CudaElement.Float32, (2, 45, 60, 11));
        logits.Randomise(random, 4);
        byte[] labels = [.. Enumerable.Range(0, 5400).Select(_ => (byte)random.Next(11))];
        foreach (double minKept in new[] { 0.05, 0.9 })
        {
            (float loss, float[] weights) = Run(device, logits.Map, labels, Ignore, 0.01f, minKept);
            (float again, float[] weightsAgain) = Run(device, logits.Map, labels, Ignore, 0.01f, minKept);
            Assert.Equal(loss, again);
            Assert.Equal(weights, weightsAgain);
        }
    }

    [Fact]
    public void MovesWhatItMust()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice logits = new(device, CudaElement.Float32, (1, 64, 128, 19));
        logits.Randomise(new Random(1));
        const int pixels = 64 * 128;
        using CudaDeviceVariable<byte> labels = device.Upload<byte>(new byte[pixels]);
        using CudaDeviceVariable<float> loss = new(device.Context, 1), weights = new(device.Context, pixels);
        CudaOhem arguments = new(logits.Map, labels.DevicePointer, Ignore, 1e-3f, 0.5, loss.DevicePointer, weights.DevicePointer);
        using OhemCuda ohem = new(device.Kernels, arguments, device.Stream);
        LaunchStatistics counts = device.Count(ohem.Launches[0]);
        LaunchCounts.AssertLoadsAtMost(1.01, logits.Map.Bytes + pixels, counts);
        // A warp has four pixels; neighbouring stores fill a sector together, in the L2. The rest are counters.
        LaunchCounts.AssertStoresAtLeast(0.3, 4 * pixels, counts);
        // The counts of 2048 digits, and with the last digit a sector of each block's.
        for (int i = 1; i < 4; i++)
        {
            long bytes = 4 * pixels + 4 * 2048 + (i < 3 ? 0 : 32 * ohem.Launches[i].Grid.X);
            LaunchCounts.AssertLoadsAtMost(1.01, bytes, device.Count(ohem.Launches[i]));
        }
        counts = device.Count(ohem.Launches[4]);
        LaunchCounts.AssertLoadsAtMost(1.1, 4 * pixels, counts);
        LaunchCounts.AssertStoresAtLeast(0.9, 4 * pixels, counts);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice logits = new(device, CudaElement.Float32, (1, 5, 5, 8)), half = new(device, CudaElement.Float16, (1, 5, 5, 8));
        using CudaDeviceVariable<float> memory = new(device.Context, 25);
        var at = memory.DevicePointer;
        CudaOhem fits = new(logits.Map, at, Ignore, 0.7f, 0.1, at, at);
        CudaOhem[] misfits =
        [
            fits with { Logits = half.Map }, fits with { Logits = logits.Map with { N = 200_000_000 } }, fits with { Labels = default },
            fits with { Loss = default }, fits with { Weights = at + 2 }, fits with { Threshold = float.NaN }, fits with { MinKept = 1.5 },
        ];
        foreach (CudaOhem misfit in misfits) Assert.Throws<ArgumentException>(() => new OhemCuda(device.Kernels, misfit, device.Stream));
    }

    private void CheckAgainstCpu(
        KernelDevice device, Random random, (int N, int H, int W, int C) shape, int kinds, double ignored, float threshold, double minKept)
    {
        int pixels = shape.N * shape.H * shape.W;
        using DeviceSlice logits = new(device, CudaElement.Float32, shape, shift: random.Next(4));
        using Slice onCpu = new(shape.N, shape.H, shape.W, shape.C);
        double[] values = new double[pixels * shape.C];
        byte[] labels = new byte[pixels];
        for (int p = 0; p < pixels; p++)
        {
            int kind = random.Next(kinds);
            labels[p] = random.NextDouble() < ignored ? Ignore : (byte)(kind % shape.C);
            values[p * shape.C + kind % shape.C] = kind - 2;
        }
        logits.Write(values);
        for (int i = 0; i < values.Length; i++) onCpu.Map.Data[i] = (float)values[i];
        (float loss, float[] weights) = Run(device, logits.Map, labels, Ignore, threshold, minKept);
        using OhemCrossEntropy kernel = new(pixels);
        float expectedLoss;
        float[] expected = new float[pixels];
        fixed (byte* l = labels)
        fixed (float* w = expected) kernel.Run(_pool, onCpu.Map, l, Ignore, threshold, minKept, &expectedLoss, w);
        string name = $"{shape}, {kinds} kinds, {ignored} ignored, threshold {threshold}, {minKept} kept at least";
        Assert.True(expected.AsSpan().SequenceEqual(weights), name);
        Assert.Equal(expectedLoss, loss, 1e-6 * Math.Max(1, expectedLoss));
    }

    // Twice, so that what the first run leaves behind does not help or harm the second.
    private static (float Loss, float[] Weights) Run(
        KernelDevice device, DeviceMap logits, byte[] labels, byte ignore, float threshold, double minKept)
    {
        using CudaDeviceVariable<byte> l = device.Upload<byte>(labels);
        using CudaDeviceVariable<float> loss = new(device.Context, 1), weights = new(device.Context, labels.Length);
        CudaOhem arguments = new(logits, l.DevicePointer, ignore, threshold, minKept, loss.DevicePointer, weights.DevicePointer);
        using OhemCuda ohem = new(device.Kernels, arguments, device.Stream);
        for (int run = 0; run < 2; run++)
        {
            foreach (CudaLaunch launch in ohem.Launches) device.Run(launch);
        }
        return (loss.ToArray(device.Stream)[0], weights.ToArray(device.Stream));
    }

    private static (double Loss, double[] Weights) Plain(Doubles logits, byte[] labels, byte ignore, double threshold, double minKept)
    {
        double[] weights = new double[labels.Length];
        (int Pixel, double Loss)[] valid = [.. Enumerable.Range(0, labels.Length).Where(p => labels[p] != ignore).Select(p => (p, LossOf(p)))];
        (int Pixel, double Loss)[] kept = threshold >= 1 ? valid : [.. valid.Where(v => v.Loss > -Math.Log(threshold))];
        int least = (int)(valid.Length * minKept);
        if (kept.Length < least) kept = [.. valid.OrderByDescending(v => v.Loss).ThenBy(v => v.Pixel).Take(least)];
        foreach ((int pixel, _) in kept) weights[pixel] = 1.0 / kept.Length;
        return (kept.Length == 0 ? 0 : kept.Average(v => v.Loss), weights);

        double LossOf(int pixel)
        {
            double[] values = logits.Data[(pixel * logits.C)..((pixel + 1) * logits.C)];
            double max = values.Max();
            return Math.Log(values.Sum(v => Math.Exp(v - max))) + max - values[labels[pixel]];
        }
    }
}
