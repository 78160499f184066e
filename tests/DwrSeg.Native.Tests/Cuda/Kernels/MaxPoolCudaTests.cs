using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class MaxPoolCudaTests
{
    private static Doubles Pool(Doubles x)
    {
        Doubles y = new(x.N, (x.H + 1) / 2, (x.W + 1) / 2, x.C);
        for (int n = 0; n < y.N; n++)
        for (int r = 0; r < y.H; r++)
        for (int k = 0; k < y.W; k++)
        for (int c = 0; c < y.C; c++)
        {
            double maximum = double.NegativeInfinity;
            for (int iy = Math.Max(2 * r - 1, 0); iy <= Math.Min(2 * r + 1, x.H - 1); iy++)
            for (int ix = Math.Max(2 * k - 1, 0); ix <= Math.Min(2 * k + 1, x.W - 1); ix++)
                maximum = Math.Max(maximum, x[n, iy, ix, c]);
            y[n, r, k, c] = maximum;
        }
        return y;
    }

    [Theory]
    [MemberData(nameof(KernelDevice.ArchitecturesAndTypes), MemberType = typeof(KernelDevice))]
    public void IsTheMaximumOfEachWindow(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        CudaElement element = KernelDevice.Element(type);
        Random random = new(architecture + type.Length);
        (int N, int H, int W, int C)[] cases =
        [
            (1, 1, 1, 1), (2, 2, 2, 16), (1, 1, 9, 8), (1, 16, 20, 32), (1, 17, 21, 32), (1, 5, 4, 320),
            .. Enumerable.Range(0, 6).Select(_ => (random.Next(1, 3), random.Next(1, 24), random.Next(1, 24), random.Next(1, 70))),
        ];
        foreach (var s in cases)
        {
            using DeviceSlice x = DeviceSlice.Random(random, device, element, s);
            using DeviceSlice y = DeviceSlice.Random(random, device, element, (s.N, (s.H + 1) / 2, (s.W + 1) / 2, s.C));
            Doubles values = x.Randomise(random);
            CudaLaunch launch = MaxPoolCuda.Prepare(device.Kernels, x.Map, y.Map);
            device.Run(launch);
            Assert.Equal(Pool(values).Data, y.Read($"{s}, {launch}").Data);
        }
    }

    [Theory]
    [MemberData(nameof(KernelDevice.ArchitecturesAndTypes), MemberType = typeof(KernelDevice))]
    public void NaNWinsAndInfinityLosesNothing(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        CudaElement element = KernelDevice.Element(type);
        foreach (int channels in new[] { 3, 16 })
        {
            using DeviceSlice x = new(device, element, (1, 6, 6, channels)), y = new(device, element, (1, 3, 3, channels));
            Doubles values = new(1, 6, 6, channels);
            Array.Fill(values.Data, double.NegativeInfinity);
            values[0, 4, 4, 1] = double.NaN;
            values[0, 0, 0, 2] = -1;
            x.Write(values.Data);
            device.Run(MaxPoolCuda.Prepare(device.Kernels, x.Map, y.Map));
            Doubles pooled = y.Read(type);
            Assert.Equal(double.NaN, pooled[0, 2, 2, 1]);
            Assert.Equal(double.NegativeInfinity, pooled[0, 1, 1, 1]);
            Assert.Equal(-1, pooled[0, 0, 0, 2]);
            Assert.Equal(double.NegativeInfinity, pooled[0, 2, 2, 2]);
        }
    }

    [Fact]
    public void MovesLittleMoreThanItMust()
    {
        // The stem at 512x1024, in fp16: 32 channels of a map of 96, to the second half of a map of 64.
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float16, (1, 256, 512, 32), 0, 64), y = new(device, CudaElement.Float16, (1, 128, 256, 32), 32);
        x.Randomise(new Random(1));
        LaunchStatistics counts = device.Count(MaxPoolCuda.Prepare(device.Kernels, x.Map, y.Map));
        LaunchCounts.AssertLoadsAtMost(1.25, x.Map.Bytes, counts);
        LaunchCounts.AssertStoresAtLeast(0.9, y.Map.Bytes, counts);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 5, 5, 8)), y = new(device, CudaElement.Float32, (1, 2, 3, 8));
        Assert.Throws<ArgumentException>(() => MaxPoolCuda.Prepare(device.Kernels, x.Map, y.Map));
    }
}
