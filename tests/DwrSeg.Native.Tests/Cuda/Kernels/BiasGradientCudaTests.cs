using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class BiasGradientCudaTests
{
    // Partial sums of a tree over numbers up to 1, each rounded to 24 bits.
    private static double Error(long pixels) => 1e-6 + pixels * 6e-8;

    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void MatchesPlainLoops(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture);
        // One element; several chunks of few and of many channels; lanes without channels.
        (int N, int H, int W, int C)[] cases =
        [
            (1, 1, 1, 1), (1, 40, 40, 8), (2, 9, 31, 320), (3, 25, 21, 3), (1, 13, 17, 20), (1, 30, 30, 65),
            .. Enumerable.Range(0, 6).Select(_ => (random.Next(1, 3), random.Next(1, 30), random.Next(1, 30), random.Next(1, 90))),
        ];
        foreach (var s in cases)
        {
            bool accumulate = random.Next(2) == 0;
            using DeviceSlice dy = DeviceSlice.Random(random, device, CudaElement.Float32, s);
            using DeviceSlice db = DeviceSlice.Random(random, device, CudaElement.Float32, (1, 1, 1, s.C));
            Doubles values = dy.Randomise(random), expected = accumulate ? db.Randomise(random) : new Doubles(1, 1, 1, s.C);
            double[] before = accumulate ? [.. expected.Data] : [];
            for (int i = 0; i < values.Data.Length; i++) expected.Data[i % s.C] += values.Data[i];
            string name = $"{s}, accumulate {accumulate}";
            CudaLaunch launch = SharedSums.RunTwice(
                device, BiasGradientCuda.WorkspaceFor(device.Context.Device, dy.Map),
                w => BiasGradientCuda.Prepare(device.Kernels, dy.Map, db.Map.Data, accumulate, w), () => db.Write(before), () => db.Read(name).Data);
            db.AssertClose($"{name}, {launch}", expected, Error(dy.Map.Pixels));
            // Without memory to share, in one chunk.
            db.Write(before);
            launch = BiasGradientCuda.Prepare(device.Kernels, dy.Map, db.Map.Data, accumulate, SplitWorkspace.None);
            Assert.Equal(1u, launch.Grid.X);
            device.Run(launch);
            db.AssertClose($"{name}, {launch}", expected, Error(dy.Map.Pixels));
        }
    }

    [Fact]
    public void NaNAndInfinityTakePart()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice dy = new(device, CudaElement.Float32, (1, 3, 50, 5), 1), db = new(device, CudaElement.Float32, (1, 1, 1, 5));
        Doubles values = dy.Randomise(new Random(1));
        (values[0, 1, 7, 1], values[0, 2, 9, 2], values[0, 0, 3, 3], values[0, 0, 4, 3]) =
            (double.NaN, double.PositiveInfinity, double.PositiveInfinity, double.NegativeInfinity);
        dy.Write(values.Data);
        device.Run(BiasGradientCuda.Prepare(device.Kernels, dy.Map, db.Map.Data, false, SplitWorkspace.None));
        double[] found = db.Read("db").Data;
        Assert.Equal([double.NaN, double.PositiveInfinity, double.NaN], found[1..4]);
        Assert.True(double.IsFinite(found[0]) && double.IsFinite(found[4]));
    }

    [Fact]
    public void MovesWhatItMust()
    {
        // A slice of the map that the decoder joins.
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice dy = new(device, CudaElement.Float32, (1, 64, 128, 64), 64, 192), db = new(device, CudaElement.Float32, (1, 1, 1, 64));
        dy.Randomise(new Random(1));
        (long PartialBytes, int Tiles) need = BiasGradientCuda.WorkspaceFor(device.Context.Device, dy.Map);
        LaunchStatistics counts = SharedSums.Count(
            device, need, w => BiasGradientCuda.Prepare(device.Kernels, dy.Map, db.Map.Data, false, w));
        LaunchCounts.AssertLoadsAtMost(1, dy.Map.Bytes + need.PartialBytes + 32, counts);
        // Blocks' shares are small against what they read.
        Assert.True(need.PartialBytes < dy.Map.Bytes / 20);
        LaunchCounts.AssertConflictsBelow(0.05, counts);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice dy = new(device, CudaElement.Float32, (1, 4, 4, 8)), half = new(device, CudaElement.Float16, (1, 4, 4, 8));
        void Refused(DeviceMap map, CUdeviceptr db) =>
            Assert.Throws<ArgumentException>(() => BiasGradientCuda.Prepare(device.Kernels, map, db, false, SplitWorkspace.None));
        Refused(half.Map, dy.Map.Data);
        Refused(dy.Map, default);
        Refused(dy.Map, dy.Map.Data + 2);
        Refused(dy.Map with { H = 0 }, dy.Map.Data);
    }
}
