using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class ResizeGradientCudaTests
{
    private static (int Low, int High, double Weight) Source(int i, int from, int to)
    {
        float position = MathF.Max((float)from / to * (i + 0.5f) - 0.5f, 0);
        int low = (int)position;
        return (low, Math.Min(low + 1, from - 1), position - low);
    }

    private static void Scatter(Doubles dy, Doubles dx)
    {
        for (int y = 0; y < dy.H; y++)
        for (int x = 0; x < dy.W; x++)
        {
            (int top, int bottom, double down) = Source(y, dx.H, dy.H);
            (int left, int right, double across) = Source(x, dx.W, dy.W);
            for (int n = 0; n < dy.N; n++)
            for (int c = 0; c < dy.C; c++)
            {
                double gradient = dy[n, y, x, c];
                dx[n, top, left, c] += (1 - down) * (1 - across) * gradient;
                dx[n, top, right, c] += (1 - down) * across * gradient;
                dx[n, bottom, left, c] += down * (1 - across) * gradient;
                dx[n, bottom, right, c] += down * across * gradient;
            }
        }
    }

    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void IsTheTransposeOfResampling(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture);
        // Up by whole factors, by others, down, to and from one pixel, not at all.
        (int N, int H, int W, int ToH, int ToW, int C)[] cases =
        [
            (1, 1, 1, 1, 1, 1), (1, 1, 1, 7, 9, 11), (2, 5, 6, 40, 48, 11), (1, 4, 8, 32, 64, 19), (2, 6, 5, 12, 10, 128), (1, 9, 7, 36, 28, 12),
            (1, 40, 30, 5, 7, 19), (1, 3, 3, 3, 3, 3), (1, 30, 41, 1, 1, 4), (1, 13, 1, 29, 1, 8),
            .. Enumerable.Range(0, 8).Select(_ => (
                random.Next(1, 3), random.Next(1, 20), random.Next(1, 20), random.Next(1, 30), random.Next(1, 30), random.Next(1, 40))),
        ];
        foreach (var s in cases)
        foreach (bool accumulate in new[] { false, true })
        {
            using DeviceSlice dy = DeviceSlice.Random(random, device, CudaElement.Float32, (s.N, s.ToH, s.ToW, s.C));
            using DeviceSlice dx = DeviceSlice.Random(random, device, CudaElement.Float32, (s.N, s.H, s.W, s.C));
            Doubles gradients = dy.Randomise(random), expected = accumulate ? dx.Randomise(random) : new Doubles(s.N, s.H, s.W, s.C);
            Scatter(gradients, expected);
            CudaLaunch launch = ResizeGradientCuda.Prepare(device.Kernels, dy.Map, dx.Map, accumulate);
            device.Run(launch);
            // Weights add up to about as many as there are outputs to an input, and at least to 1; with each of them a few roundings.
            double weights = (1 + (double)s.ToH / s.H) * (1 + (double)s.ToW / s.W);
            dx.AssertClose($"{s}, {launch}", expected, 1.2e-7 * (2 + weights));
        }
    }

    [Fact]
    public void OddFactorsOfLongAxesMissNothing()
    {
        // Where rounded positions stand on a border between inputs, and the first output is guessed wrongly at first.
        KernelDevice device = KernelDevice.Usual;
        foreach ((int from, int to) in new[] { (1000, 3000), (3001, 3000), (999, 7), (7, 4999), (2048, 2049) })
        {
            using DeviceSlice dy = new(device, CudaElement.Float32, (1, 1, to, 1)), dx = new(device, CudaElement.Float32, (1, 1, from, 1));
            Doubles gradients = dy.Randomise(new Random(from)), expected = new(1, 1, from, 1);
            Scatter(gradients, expected);
            device.Run(ResizeGradientCuda.Prepare(device.Kernels, dy.Map, dx.Map, accumulate: false));
            dx.AssertClose($"{from} to {to}", expected, 1.2e-7 * (3 + (double)to / from));
        }
    }

    [Fact]
    public void MovesLittleMoreThanItMust()
    {
        // The network's end: 19 classes, eight times as large.
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice dy = new(device, CudaElement.Float32, (1, 128, 128, 19)), dx = new(device, CudaElement.Float32, (1, 16, 16, 19));
        dy.Randomise(new Random(1));
        LaunchStatistics counts = device.Count(ResizeGradientCuda.Prepare(device.Kernels, dy.Map, dx.Map, accumulate: false));
        LaunchCounts.AssertLoadsAtMost(1.01, dy.Map.Bytes, counts);
        LaunchCounts.AssertStoresAtLeast(0.8, dx.Map.Bytes, counts);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice dy = new(device, CudaElement.Float32, (1, 5, 5, 8)), dx = new(device, CudaElement.Float32, (1, 2, 3, 7));
        using DeviceSlice half = new(device, CudaElement.Float16, (1, 2, 3, 8));
        Assert.Throws<ArgumentException>(() => ResizeGradientCuda.Prepare(device.Kernels, dy.Map, dx.Map, false));
        Assert.Throws<ArgumentException>(() => ResizeGradientCuda.Prepare(device.Kernels, dy.Map, half.Map, false));
    }
}
