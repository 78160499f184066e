using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class ElementwiseCudaTests
{
    // One rounding to fp32 of sums up to 2.
    private const double Error = 1.2e-7;

    [Theory]
    [MemberData(nameof(KernelDevice.ArchitecturesAndTypes), MemberType = typeof(KernelDevice))]
    public void ReluIsTheLargerOfValueAndZero(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        CudaElement element = KernelDevice.Element(type);
        Random random = new(architecture + type.Length);
        foreach (var s in Cases(random))
        {
            using DeviceSlice x = DeviceSlice.Random(random, device, element, s), y = DeviceSlice.Random(random, device, element, s);
            Doubles values = x.Randomise(random);
            CudaLaunch launch = ElementwiseCuda.Relu(device.Kernels, x.Map, y.Map);
            device.Run(launch);
            Assert.Equal(values.Data.Select(v => Math.Max(v, 0)), y.Read($"{s}, {launch}").Data);
            Assert.Equal(values.Data, x.Read("the operand").Data);
        }
    }

    [Theory]
    [MemberData(nameof(KernelDevice.ArchitecturesAndTypes), MemberType = typeof(KernelDevice))]
    public void AddMatchesPlainLoops(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        CudaElement element = KernelDevice.Element(type);
        Random random = new(architecture + type.Length);
        foreach (var s in Cases(random))
        {
            using DeviceSlice a = DeviceSlice.Random(random, device, element, s), b = DeviceSlice.Random(random, device, element, s);
            using DeviceSlice y = DeviceSlice.Random(random, device, element, s);
            double[] left = a.Randomise(random).Data, right = b.Randomise(random).Data;
            Doubles expected = new(s.N, s.H, s.W, s.C);
            for (int i = 0; i < left.Length; i++) expected.Data[i] = left[i] + right[i];
            CudaLaunch launch = ElementwiseCuda.Add(device.Kernels, a.Map, b.Map, y.Map);
            device.Run(launch);
            y.AssertClose($"{s}, {launch}", expected, Error);
        }
    }

    [Fact]
    public void WorksInPlace()
    {
        KernelDevice device = KernelDevice.Usual;
        foreach (int channels in new[] { 16, 13 })
        {
            using DeviceSlice x = new(device, CudaElement.Float16, (2, 9, 11, channels), 3, 5), b = new(device, CudaElement.Float16, (2, 9, 11, channels));
            Doubles values = x.Randomise(new Random(2)), others = b.Randomise(new Random(3));
            device.Run(ElementwiseCuda.Add(device.Kernels, x.Map, b.Map, x.Map));
            Doubles sums = new(2, 9, 11, channels);
            for (int i = 0; i < sums.Data.Length; i++) sums.Data[i] = values.Data[i] + others.Data[i];
            x.AssertClose("sum in place of its first term", sums, 0);
            // The sum of a map and itself: both terms and the result are one.
            device.Run(ElementwiseCuda.Add(device.Kernels, b.Map, b.Map, b.Map));
            b.AssertClose("doubled in place", Map(others, v => 2 * v), 0);
            device.Run(ElementwiseCuda.Relu(device.Kernels, b.Map, b.Map));
            b.AssertClose("relu in place", Map(others, v => Math.Max(2 * v, 0)), 0);
        }
    }

    [Theory]
    [MemberData(nameof(KernelDevice.ArchitecturesAndTypes), MemberType = typeof(KernelDevice))]
    public void NaNStaysAndInfinityTakesPart(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        CudaElement element = KernelDevice.Element(type);
        foreach (int channels in new[] { 3, 16 })
        {
            using DeviceSlice x = new(device, element, (1, 2, 3, channels)), b = new(device, element, (1, 2, 3, channels)), y = new(device, element, (1, 2, 3, channels));
            double[] left = new double[6 * channels], right = new double[left.Length];
            double[] special = [double.NaN, double.PositiveInfinity, double.NegativeInfinity, -1, 1, 0];
            for (int i = 0; i < left.Length; i++) (left[i], right[i]) = (special[i % 6], special[i / 6 % 6]);
            x.Write(left);
            b.Write(right);
            device.Run(ElementwiseCuda.Relu(device.Kernels, x.Map, y.Map));
            Assert.Equal(left.Select(v => double.IsNaN(v) ? v : Math.Max(v, 0)), y.Read("relu").Data);
            device.Run(ElementwiseCuda.Add(device.Kernels, x.Map, b.Map, y.Map));
            Assert.Equal(left.Zip(right, (l, r) => l + r), y.Read("sum").Data);
        }
    }

    [Fact]
    public void MovesWhatItMust()
    {
        // The residual sum of a stage's module, from and to slices of the decoder's map.
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice a = new(device, CudaElement.Float16, (1, 64, 128, 64), 64, 192), b = new(device, CudaElement.Float16, (1, 64, 128, 64));
        using DeviceSlice y = new(device, CudaElement.Float16, (1, 64, 128, 64), 0, 256);
        a.Randomise(new Random(1));
        b.Randomise(new Random(2));
        LaunchStatistics counts = device.Count(ElementwiseCuda.Add(device.Kernels, a.Map, b.Map, y.Map));
        LaunchCounts.AssertLoadsAtMost(1, a.Map.Bytes + b.Map.Bytes, counts);
        LaunchCounts.AssertStoresAtLeast(1, y.Map.Bytes, counts);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 5, 5, 8)), narrow = new(device, CudaElement.Float32, (1, 5, 4, 8));
        using DeviceSlice half = new(device, CudaElement.Float16, (1, 5, 5, 8)), y = new(device, CudaElement.Float32, (1, 5, 5, 8));
        Assert.Throws<ArgumentException>(() => ElementwiseCuda.Relu(device.Kernels, narrow.Map, y.Map));
        Assert.Throws<ArgumentException>(() => ElementwiseCuda.Relu(device.Kernels, half.Map, y.Map));
        Assert.Throws<ArgumentException>(() => ElementwiseCuda.Add(device.Kernels, x.Map, narrow.Map, y.Map));
        Assert.Throws<ArgumentException>(() => ElementwiseCuda.Add(device.Kernels, half.Map, x.Map, y.Map));
    }

    private static (int N, int H, int W, int C)[] Cases(Random random) =>
    [
        (1, 1, 1, 1), (2, 3, 5, 16), (1, 7, 9, 320), (1, 40, 40, 8),
        .. Enumerable.Range(0, 5).Select(_ => (random.Next(1, 3), random.Next(1, 20), random.Next(1, 20), random.Next(1, 90))),
    ];

    private static Doubles Map(Doubles x, Func<double, double> function)
    {
        Doubles y = new(x.N, x.H, x.W, x.C);
        for (int i = 0; i < y.Data.Length; i++) y.Data[i] = function(x.Data[i]);
        return y;
    }
}
