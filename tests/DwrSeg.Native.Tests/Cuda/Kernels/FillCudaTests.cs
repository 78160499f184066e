using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class FillCudaTests
{
    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void EveryElementOfTheSliceHoldsTheValue(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture);
        foreach (var s in Cases(random))
        {
            using DeviceSlice y = DeviceSlice.Random(random, device, CudaElement.Float32, s);
            CudaLaunch launch = FillCuda.Prepare(device.Kernels, -1.5f, y.Map);
            device.Run(launch);
            Assert.All(y.Read($"{s}, {launch}").Data, v => Assert.Equal(-1.5, v));
        }
    }

    [Fact]
    public void MovesWhatItMust()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice y = new(device, CudaElement.Float32, (1, 64, 128, 64), 64, 192);
        LaunchStatistics counts = device.Count(FillCuda.Prepare(device.Kernels, 0, y.Map));
        Assert.Equal(0, counts.LaunchLoadSectors);
        LaunchCounts.AssertStoresAtLeast(1, y.Map.Bytes, counts);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice y = new(device, CudaElement.Float16, (1, 5, 5, 8));
        ArgumentException error = Assert.Throws<ArgumentException>(() => FillCuda.Prepare(device.Kernels, 0, y.Map));
        Assert.Contains("not fp32", error.Message, StringComparison.Ordinal);
    }

    private static (int N, int H, int W, int C)[] Cases(Random random) =>
    [
        (1, 1, 1, 1), (2, 3, 5, 16), (1, 7, 9, 320), (1, 40, 40, 8),
        .. Enumerable.Range(0, 5).Select(_ => (random.Next(1, 3), random.Next(1, 20), random.Next(1, 20), random.Next(1, 90))),
    ];
}
