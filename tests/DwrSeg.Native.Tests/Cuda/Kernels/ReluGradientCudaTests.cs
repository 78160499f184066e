using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class ReluGradientCudaTests
{
    // A sum of two values up to 1, rounded once to fp32.
    private const double Error = 1.2e-7;

    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void PassesWhereTheOutputIsPositive(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture);
        foreach (var s in Cases(random))
        foreach (bool accumulate in new[] { false, true })
        {
            using DeviceSlice y = DeviceSlice.Random(random, device, CudaElement.Float32, s);
            using DeviceSlice dy = DeviceSlice.Random(random, device, CudaElement.Float32, s);
            using DeviceSlice dx = DeviceSlice.Random(random, device, CudaElement.Float32, s);
            double[] outputs = y.Randomise(random).Data, gradients = dy.Randomise(random).Data;
            Doubles expected = accumulate ? dx.Randomise(random) : new Doubles(s.N, s.H, s.W, s.C);
            for (int i = 0; i < outputs.Length; i++) expected.Data[i] += outputs[i] > 0 ? gradients[i] : 0;
            CudaLaunch launch = ReluGradientCuda.Prepare(device.Kernels, y.Map, dy.Map, dx.Map, accumulate);
            device.Run(launch);
            dx.AssertClose($"{s}, {launch}", expected, accumulate ? Error : 0);
        }
    }

    [Fact]
    public void WorksInPlaceOfTheGradient()
    {
        KernelDevice device = KernelDevice.Usual;
        foreach (int channels in new[] { 16, 13 })
        {
            using DeviceSlice y = new(device, CudaElement.Float32, (2, 9, 11, channels), 3, 5);
            using DeviceSlice dy = new(device, CudaElement.Float32, (2, 9, 11, channels));
            double[] outputs = y.Randomise(new Random(2)).Data, gradients = dy.Randomise(new Random(3)).Data;
            device.Run(ReluGradientCuda.Prepare(device.Kernels, y.Map, dy.Map, dy.Map, accumulate: false));
            Assert.Equal(outputs.Zip(gradients, (o, g) => o > 0 ? g : 0), dy.Read("in place").Data);
        }
    }

    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void ZeroStopsAGradientAndNaNDoesNot(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        foreach (int channels in new[] { 3, 4 })
        {
            (int, int, int, int) shape = (1, 2, 2, channels);
            using DeviceSlice y = new(device, CudaElement.Float32, shape), dy = new(device, CudaElement.Float32, shape);
            using DeviceSlice dx = new(device, CudaElement.Float32, shape);
            double[] special = [double.NaN, double.PositiveInfinity, -0.0, 0, double.Epsilon, -1], outputs = new double[4 * channels];
            for (int i = 0; i < outputs.Length; i++) outputs[i] = special[i % 6];
            y.Write(outputs);
            dy.Write([.. outputs.Select(_ => double.PositiveInfinity)]);
            device.Run(ReluGradientCuda.Prepare(device.Kernels, y.Map, dy.Map, dx.Map, accumulate: false));
            // The smallest double is 0 in fp32.
            Assert.Equal(outputs.Select(o => (float)o <= 0 ? 0 : double.PositiveInfinity), dx.Read("special").Data);
        }
    }

    [Fact]
    public void MovesWhatItMust()
    {
        KernelDevice device = KernelDevice.Usual;
        (int, int, int, int) shape = (1, 64, 128, 64);
        using DeviceSlice y = new(device, CudaElement.Float32, shape, 64, 192), dy = new(device, CudaElement.Float32, shape);
        using DeviceSlice dx = new(device, CudaElement.Float32, shape, 0, 64);
        y.Randomise(new Random(1));
        dy.Randomise(new Random(2));
        dx.Randomise(new Random(3));
        LaunchStatistics counts = device.Count(ReluGradientCuda.Prepare(device.Kernels, y.Map, dy.Map, dx.Map, accumulate: true));
        LaunchCounts.AssertLoadsAtMost(1, y.Map.Bytes + dy.Map.Bytes + dx.Map.Bytes, counts);
        LaunchCounts.AssertStoresAtLeast(1, dx.Map.Bytes, counts);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 5, 5, 8)), narrow = new(device, CudaElement.Float32, (1, 5, 4, 8));
        using DeviceSlice half = new(device, CudaElement.Float16, (1, 5, 5, 8));
        Assert.Throws<ArgumentException>(() => ReluGradientCuda.Prepare(device.Kernels, narrow.Map, x.Map, x.Map, false));
        Assert.Throws<ArgumentException>(() => ReluGradientCuda.Prepare(device.Kernels, x.Map, narrow.Map, x.Map, false));
        Assert.Throws<ArgumentException>(() => ReluGradientCuda.Prepare(device.Kernels, half.Map, x.Map, x.Map, false));
    }

    private static (int N, int H, int W, int C)[] Cases(Random random) =>
    [
        (1, 1, 1, 1), (2, 3, 5, 16), (1, 7, 9, 320), (1, 40, 40, 8),
        .. Enumerable.Range(0, 5).Select(_ => (random.Next(1, 3), random.Next(1, 20), random.Next(1, 20), random.Next(1, 90))),
    ];
}
