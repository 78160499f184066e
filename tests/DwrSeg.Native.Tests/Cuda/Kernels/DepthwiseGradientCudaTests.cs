using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class DepthwiseGradientCudaTests
{
    // One pixel; a dilation beyond the map; maps of one column and of one row; steps over several images; 320 channels; many chunks.
    private static (int N, int H, int W, int C, int Multiplier, int Dilation)[] Cases(Random random) =>
    [
        (1, 1, 1, 1, 1, 1), (2, 1, 3, 17, 2, 5), (1, 3, 2, 16, 2, 40), (9, 3, 2, 8, 1, 1), (2, 50, 1, 4, 1, 3), (3, 1, 70, 8, 2, 3),
        (1, 7, 9, 320, 1, 5), (1, 20, 19, 16, 1, int.MaxValue), (1, 9, 10, 8, 3, 2), (1, 5, 6, 7, 4, 1), (2, 33, 35, 4, 1, 1),
        .. Enumerable.Range(0, 8).Select(_ => (random.Next(1, 3), random.Next(1, 20), random.Next(1, 20), random.Next(1, 40),
            random.Next(1, 4), random.Next(1, 8))),
    ];

    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void TheWeightsGradientMatchesPlainLoops(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture);
        foreach (var s in Cases(random))
        {
            bool accumulate = random.Next(2) == 0;
            int outputs = s.C * s.Multiplier;
            using DeviceSlice x = DeviceSlice.Random(random, device, CudaElement.Float32, (s.N, s.H, s.W, s.C));
            using DeviceSlice dy = DeviceSlice.Random(random, device, CudaElement.Float32, (s.N, s.H, s.W, outputs));
            using DeviceSlice dw = DeviceSlice.Random(random, device, CudaElement.Float32, (1, 1, 1, 9 * outputs));
            Doubles inputs = x.Randomise(random), gradient = dy.Randomise(random);
            Doubles expected = accumulate ? dw.Randomise(random) : new Doubles(1, 1, 1, 9 * outputs);
            double[] before = accumulate ? [.. expected.Data] : [];
            ForEachTap(gradient, s.Dilation, (n, r, k, tap, ir, ik) =>
            {
                for (int o = 0; o < outputs; o++) expected.Data[tap * outputs + o] += gradient[n, r, k, o] * inputs[n, ir, ik, o / s.Multiplier];
            });
            string name = $"{s}, accumulate {accumulate}";
            CudaLaunch launch = SharedSums.RunTwice(
                device, DepthwiseGradientCuda.WorkspaceFor(device.Context.Device, x.Map, dy.Map),
                w => DepthwiseGradientCuda.PrepareWeights(device.Kernels, x.Map, dy.Map, dw.Map.Data, s.Dilation, accumulate, w),
                () => dw.Write(before), () => dw.Read(name).Data);
            // Products up to 1, whose partial sums are rounded to 24 bits.
            dw.AssertClose($"{name}, {launch}", expected, 1e-6 + dy.Map.Pixels * 6e-8);
        }
    }

    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void TheInputsGradientMatchesPlainLoops(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture);
        foreach (var s in Cases(random))
        {
            bool accumulate = random.Next(2) == 0;
            int outputs = s.C * s.Multiplier;
            using DeviceSlice dy = DeviceSlice.Random(random, device, CudaElement.Float32, (s.N, s.H, s.W, outputs));
            using DeviceSlice dx = DeviceSlice.Random(random, device, CudaElement.Float32, (s.N, s.H, s.W, s.C));
            using DeviceSlice w = DeviceSlice.Random(random, device, CudaElement.Float32, (1, 1, 1, 9 * outputs));
            Doubles gradient = dy.Randomise(random), weights = w.Randomise(random);
            Doubles expected = accumulate ? dx.Randomise(random) : new Doubles(s.N, s.H, s.W, s.C);
            double[] before = accumulate ? [.. expected.Data] : [];
            ForEachTap(gradient, s.Dilation, (n, r, k, tap, ir, ik) =>
            {
                for (int o = 0; o < outputs; o++) expected[n, ir, ik, o / s.Multiplier] += gradient[n, r, k, o] * weights.Data[tap * outputs + o];
            });
            CudaLaunch launch = DepthwiseGradientCuda.PrepareData(device.Kernels, w.Map.Data, dy.Map, dx.Map, s.Dilation, accumulate);
            device.Run(launch);
            double[] first = dx.Read("first").Data;
            // Nine products of order 1 for each of up to four outputs, each rounded to 24 bits.
            dx.AssertClose($"{s}, accumulate {accumulate}, {launch}", expected, 1e-5);
            dx.Write(before);
            device.Run(launch);
            Assert.Equal(first, dx.Read("second").Data);
        }
    }

    [Theory]
    [InlineData(1, 5)]
    [InlineData(2, 1)]
    public void MoveLittleMoreThanTheyMust(int multiplier, int dilation)
    {
        // Branches of the modules of stage 3 at 512x1024, from and to slices of joined maps.
        KernelDevice device = KernelDevice.Usual;
        Random random = new(4);
        int outputs = 64 * multiplier;
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 32, 64, 64), 64);
        using DeviceSlice dy = new(device, CudaElement.Float32, (1, 32, 64, outputs), 0, 64);
        using DeviceSlice dx = new(device, CudaElement.Float32, (1, 32, 64, 64), 64), w = new(device, CudaElement.Float32, (1, 1, 1, 9 * outputs));
        x.Randomise(random);
        dy.Randomise(random);
        w.Randomise(random);
        (long PartialBytes, int Tiles) need = DepthwiseGradientCuda.WorkspaceFor(device.Context.Device, x.Map, dy.Map);
        LaunchStatistics weights = SharedSums.Count(
            device, need, s => DepthwiseGradientCuda.PrepareWeights(device.Kernels, x.Map, dy.Map, w.Map.Data, dilation, false, s));
        LaunchCounts.AssertLoadsAtMost(1, x.Map.Bytes + dy.Map.Bytes + need.PartialBytes + 32L * need.Tiles, weights);
        LaunchCounts.AssertConflictsBelow(0.05, weights);
        LaunchStatistics data = device.Count(DepthwiseGradientCuda.PrepareData(device.Kernels, w.Map.Data, dy.Map, dx.Map, dilation, false));
        LaunchCounts.AssertLoadsAtMost(1, dy.Map.Bytes + w.Map.Bytes, data);
        LaunchCounts.AssertStoresAtLeast(1, dx.Map.Bytes, data);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 4, 4, 8)), dy = new(device, CudaElement.Float32, (1, 4, 4, 16));
        using DeviceSlice w = new(device, CudaElement.Float32, (1, 1, 1, 144));
        void Refused(DeviceMap narrow, DeviceMap wide, bool hasWeights = true, int dilation = 1)
        {
            var address = hasWeights ? w.Map.Data : default;
            Assert.Throws<ArgumentException>(
                () => DepthwiseGradientCuda.PrepareWeights(device.Kernels, narrow, wide, address, dilation, false, SplitWorkspace.None));
            Assert.Throws<ArgumentException>(() => DepthwiseGradientCuda.PrepareData(device.Kernels, address, wide, narrow, dilation, false));
        }
        Refused(x.Map, dy.Map with { C = 12 });
        Refused(x.Map, dy.Map with { C = 4 });
        Refused(x.Map with { W = 3 }, dy.Map);
        Refused(x.Map, dy.Map with { Element = CudaElement.Float16 });
        Refused(x.Map, dy.Map, dilation: 0);
        Refused(x.Map, dy.Map, hasWeights: false);
    }

    // Each output pixel, each of its taps inside the map, and the input pixel there.
    private static void ForEachTap(Doubles map, int dilation, Action<int, int, int, int, int, int> body)
    {
        for (int n = 0; n < map.N; n++)
        for (int row = 0; row < map.H; row++)
        for (int column = 0; column < map.W; column++)
        for (int tap = 0; tap < 9; tap++)
        {
            long r = row + (tap / 3 - 1) * (long)dilation, k = column + (tap % 3 - 1) * (long)dilation;
            if (r >= 0 && r < map.H && k >= 0 && k < map.W) body(n, row, column, tap, (int)r, (int)k);
        }
    }
}
