using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class DwrSrMmaCudaTests
{
    public static IEnumerable<TheoryDataRow<int, string>> Cases =>
        KernelDevice.ArchitecturesAndTypes.Where(r => r.Data.Item2 != "f32" && r.Data.Item1 is 0 or >= 80);

    /// <summary>The second half of a module over a stored concatenated map, and as one launch.</summary>
    private sealed class Module : IDisposable
    {
        private readonly KernelDevice _device;
        private readonly DeviceSlice _middle;
        private readonly DeviceConvolution _project;
        private readonly DeviceSlice[] _inputs;
        private readonly List<CudaDeviceVariable<float>> _vectors = [];
        private readonly bool _relu;

        /// <param name="device">Where.</param>
        /// <param name="random">Fills everything.</param>
        /// <param name="element">The maps' type.</param>
        /// <param name="size">Images, rows, columns.</param>
        /// <param name="branches">Input channels, outputs of each, dilation.</param>
        /// <param name="outputs">Outputs of the module.</param>
        /// <param name="relu">A ReLU on the concatenated map.</param>
        public Module(
            KernelDevice device, Random random, CudaElement element, (int N, int H, int W) size, (int Inputs, int Multiplier, int Dilation)[] branches,
            int outputs, bool relu)
        {
            (_device, _relu) = (device, relu);
            int channels = branches.Sum(b => b.Inputs * b.Multiplier);
            _middle = new DeviceSlice(device, element, (size.N, size.H, size.W, channels));
            _project = new DeviceConvolution(
                device, random, element, new(size.N, size.H, size.W, channels, outputs, 1) { Residual = true }, aligned: true);
            // Slices of one map, as Region Residualization writes them, with room so that each starts on a vector.
            _inputs = [.. branches.Select((b, i) => new DeviceSlice(device, element, (size.N, size.H, size.W, b.Inputs), 8 * i, 15 - (b.Inputs + 7) % 8))];
            Branches = new CudaSrBranch[branches.Length];
            for (int i = 0; i < branches.Length; i++)
            {
                _inputs[i].Randomise(random);
                int own = branches[i].Inputs * branches[i].Multiplier;
                _vectors.Add(device.UploadFloats(Enumerable.Range(0, 9 * own).Select(_ => (random.NextDouble() * 2 - 1) / 3)));
                _vectors.Add(device.UploadFloats(Enumerable.Range(0, own).Select(_ => random.NextDouble() - 0.5)));
                Branches[i] = new CudaSrBranch(
                    _inputs[i].Map, _vectors[^2].DevicePointer, i % 2 == 0 ? _vectors[^1].DevicePointer : default, branches[i].Multiplier,
                    branches[i].Dilation);
            }
        }

        public CudaSrBranch[] Branches { get; }

        public CudaConvolution Projection => _project.Arguments;

        public DeviceSlice Y => _project.Y;

        public CudaLaunch Prepare() => DwrSrMmaCuda.Prepare(_device.Kernels, Branches, Projection, _relu);

        public void Reset() => _project.Reset();

        public void RunUnfused()
        {
            var depthwise = new CudaDepthwiseBranch[Branches.Length];
            for (int i = 0, first = 0; i < Branches.Length; first += Branches[i++].Outputs)
            {
                CudaSrBranch b = Branches[i];
                depthwise[i] = new CudaDepthwiseBranch(b.X, _middle.Map.Slice(first, b.Outputs), b.Weights, b.Bias, b.Multiplier, b.Dilation);
            }
            _device.Run(DepthwiseConvCuda.Prepare(_device.Kernels, depthwise, _relu));
            _device.Run(ConvMmaCuda.Prepare(_device.Kernels, Projection with { X = _middle.Map }));
        }

        public void Dispose()
        {
            _middle.Dispose();
            _project.Dispose();
            foreach (DeviceSlice input in _inputs) input.Dispose();
            foreach (CudaDeviceVariable<float> vector in _vectors) vector.Dispose();
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void GivesTheBitsOfTwoLaunches(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture + type.Length);
        // Stage 4's and stage 3's branches; ragged tiles and a dilation beyond the map; channels that end within a step; 192 outputs; a long sum.
        ((int N, int H, int W) Size, (int Inputs, int Multiplier, int Dilation)[] Branches, int Outputs)[] cases =
        [
            ((1, 4, 8), [(64, 2, 1), (64, 1, 3), (64, 1, 5)], 128), ((1, 6, 4), [(64, 2, 1), (64, 1, 3)], 128),
            ((2, 5, 7), [(16, 1, 9), (8, 2, 2)], 24), ((1, 3, 3), [(4, 2, 1), (40, 1, 1)], 192), ((1, 4, 4), [(320, 1, 2)], 64), ((1, 5, 4), [(16, 1, int.MaxValue)], 8),
        ];
        HashSet<int> clusters = [];
        foreach (var c in cases)
        {
            using Module module = new(device, random, KernelDevice.Element(type), c.Size, c.Branches, c.Outputs, relu: random.Next(2) == 0);
            module.RunUnfused();
            double[] expected = module.Y.Read("unfused").Data;
            module.Reset();
            CudaLaunch launch = module.Prepare();
            device.Run(launch);
            Assert.DoesNotContain(expected, double.IsNaN);
            double[] y = module.Y.Read($"{c}, {launch}").Data;
            if (launch.ClusterBlocks == 1)
            {
                Assert.Equal(expected, y);
                continue;
            }
            // Sums in another order may fall on the other side of a rounding: an ulp of the maps' type, and of the sum's terms.
            double ulp = type == "f16" ? Math.ScaleB(1, -10) : Math.ScaleB(1, -7);
            for (int i = 0; i < y.Length; i++) Assert.InRange(y[i], expected[i] - Slack(expected[i]), expected[i] + Slack(expected[i]));
            clusters.Add(launch.ClusterBlocks);

            double Slack(double value) => ulp * Math.Abs(value) + Math.ScaleB(1, -20);
        }
        if (Clusters.AreOn(device.Context.Device)) Assert.True(clusters.Count > 1, "clusters of several sizes should be tried");
    }

    [Theory]
    [InlineData(32, 64, 2)]
    [InlineData(16, 32, 3)]
    public void MovesLittleMoreThanItMust(int height, int width, int count)
    {
        // The modules of stage 3 and 4 at 512x1024.
        KernelDevice device = KernelDevice.Usual;
        (int, int, int)[] branches = [.. Enumerable.Range(0, count).Select(i => (64, i == 0 ? 2 : 1, 2 * i + 1))];
        using Module module = new(device, new Random(4), CudaElement.Float16, (1, height, width), branches, 128, relu: false);
        CudaLaunch launch = module.Prepare();
        LaunchStatistics counts = device.Count(launch);
        LaunchCounts.AssertLoadsAtMost(1.25, launch.Bytes - module.Y.Map.Bytes, counts);
        LaunchCounts.AssertStoresAtLeast(0.9, module.Y.Map.Bytes, counts);
        LaunchCounts.AssertConflictsBelow(0.05, counts);
    }

    [Fact]
    public void ALaunchPreparedLaterTakesNoSharedMemoryFromAnEarlierOne()
    {
        KernelDevice device = KernelDevice.Usual;
        using Module more = new(device, new Random(8), CudaElement.Float16, (1, 4, 4), [(64, 2, 1), (256, 1, 3)], 128, relu: false);
        using Module less = new(device, new Random(9), CudaElement.Float16, (1, 4, 4), [(64, 2, 1), (128, 1, 3)], 128, relu: false);
        CudaLaunch first = more.Prepare(), second = less.Prepare();
        Assert.Equal(first.Variant, second.Variant);
        Assert.True(first.SharedBytes > second.SharedBytes);
        device.Run(first);
        device.Run(second);
    }

    [Fact]
    public void WhatDoesNotFitIsLeftToTwoLaunches()
    {
        KernelDevice device = KernelDevice.Usual;
        using Module module = new(device, new Random(5), CudaElement.Float16, (1, 4, 4), [(16, 1, 1)], 8, relu: false);
        CudaSrBranch good = module.Branches[0];
        Assert.True(DwrSrMmaCuda.Fits(device.Context.Device, module.Branches, module.Projection));
        foreach (CudaSrBranch bad in new[] { good with { Multiplier = 3 }, good with { X = good.X.Slice(0, 12) }, good with { Bias = good.Weights + 4 } })
            Assert.False(DwrSrMmaCuda.Fits(device.Context.Device, [bad], module.Projection));
        Assert.Throws<ArgumentException>(() => DwrSrMmaCuda.Prepare(device.Kernels, [good, good], module.Projection, false));
        Assert.Throws<ArgumentException>(() => DwrSrMmaCuda.Prepare(device.Kernels, [good with { Dilation = 0 }], module.Projection, false));
        Assert.Throws<ArgumentException>(() => DwrSrMmaCuda.Prepare(device.Kernels, [], module.Projection, false));
    }
}
