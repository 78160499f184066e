using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class ConvMmaCudaTests
{
    public static IEnumerable<TheoryDataRow<int, string>> Cases => KernelDevice.ArchitecturesAndTypes.Where(r => r.Data.Item2 != "f32");

    [Theory]
    [MemberData(nameof(Cases))]
    public void MatchesPlainLoops(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture + type.Length);
        // One pixel; an image's three channels; the classifier's odd number of outputs; several tiles of both; a map of one row.
        ConvolutionCase[] cases =
        [
            new(1, 1, 1, 1, 1, 3), new(1, 9, 11, 3, 32, 3, 2), new(1, 6, 7, 128, 19, 1) { Bias = true }, new(2, 11, 16, 64, 19, 3) { Bias = true }, new(1, 8, 8, 64, 11, 1), new(2, 9, 10, 72, 136, 3) { Bias = true },
            new(1, 1, 40, 64, 64, 3, 2), new(1, 3, 5, 320, 40, 3), new(1, 5, 4, 16, 320, 1, 2), .. Enumerable.Range(0, 10).Select(_ => ConvolutionCase.Random(random)),
        ];
        foreach (ConvolutionCase c in cases)
        {
            using DeviceConvolution convolution = new(device, random, KernelDevice.Element(type), c);
            CudaLaunch launch = ConvMmaCuda.Prepare(device.Kernels, convolution.Arguments);
            device.Run(launch);
            convolution.Y.AssertClose($"{c}, {launch}", convolution.Expected(), convolution.Error);
        }
    }

    [Theory]
    [InlineData(75)]
    [InlineData(80)]
    [InlineData(90)]
    public void EveryTileGivesTheSameBits(int architecture)
    {
        // The sum runs in the same order whatever the tile; only a tensor core adds up more at once in wgmma than in mma, and blocks may share it.
        KernelDevice device = KernelDevice.On(KernelDevice.IsReal ? 0 : architecture);
        ConvolutionCase c = new(1, 9, 13, 96, 136, 3) { Bias = true, BorderBias = true, Residual = true, Relu = CudaRelu.Last };
        using DeviceConvolution convolution = new(device, new Random(5), CudaElement.Float16, c, aligned: true);
        IReadOnlyList<CudaLaunch> launches = ConvMmaCuda.Candidates(device.Kernels, convolution.Arguments);
        Assert.True(launches.Count > 2, "only one tile");
        Dictionary<(bool IsSpecific, int Blocks), double[]> first = [];
        foreach (CudaLaunch launch in launches)
        {
            convolution.Reset();
            device.Run(launch);
            convolution.Y.AssertClose(launch.ToString(), convolution.Expected(), convolution.Error);
            double[] y = convolution.Y.Read(launch.ToString()).Data;
            (bool, int) kind = (launch.Variant.IsSpecific, launch.ClusterBlocks);
            if (!first.TryAdd(kind, y)) Assert.Equal(first[kind], y);
        }
        Assert.Equal(Warpgroups.AreOn(device.Context.Device), first.Keys.Any(k => k.IsSpecific));
        Assert.True(first.Count < launches.Count, "no two tiles add up in the same order");
    }

    [Theory]
    [InlineData(75)]
    [InlineData(80)]
    public void SharedSumsMatchAndLeaveCountersAtZero(int architecture)
    {
        KernelDevice device = KernelDevice.On(KernelDevice.IsReal ? 0 : architecture);
        Assert.SkipWhen(Clusters.AreOn(device.Context.Device), "blocks of the device share sums in clusters");
        // As in stage 4: few pixels, long sums.
        ConvolutionCase c = new(1, 5, 8, 128, 72, 3) { Bias = true, Residual = true, Relu = CudaRelu.First };
        using DeviceConvolution convolution = new(device, new Random(6), CudaElement.Float16, c, aligned: true);
        (long bytes, int tiles) = ConvMmaCuda.WorkspaceFor(device.Context.Device, convolution.Arguments);
        Assert.True(tiles > 0, "a small map should share sums");
        (CudaDeviceVariable<uint> memory, SplitWorkspace workspace) = SplitWorkspace.Allocate(device.Stream, bytes, tiles);
        using (memory)
        {
            CudaLaunch launch = ConvMmaCuda.Prepare(device.Kernels, convolution.Arguments, workspace);
            Assert.Contains("SPLIT=1", launch.Variant.Definitions, StringComparison.Ordinal);
            device.Run(launch);
            convolution.Y.AssertClose(launch.ToString(), convolution.Expected(), convolution.Error);
            double[] once = convolution.Y.Read(launch.ToString()).Data;
            convolution.Reset();
            device.Run(launch);
            Assert.Equal(once, convolution.Y.Read(launch.ToString()).Data);
            var counters = new uint[tiles];
            memory.Slice(bytes / sizeof(uint), tiles).CopyToHost(counters, device.Stream);
            Assert.All(counters, counter => Assert.Equal(0u, counter));
        }
    }

    [Theory]
    [InlineData("f16")]
    [InlineData("bf16")]
    public void SumsOfClustersMatch(string type)
    {
        KernelDevice device = KernelDevice.On(KernelDevice.IsReal ? 0 : 90);
        Assert.SkipUnless(Clusters.AreOn(device.Context.Device), "blocks of the device make no clusters");
        HashSet<int> clusters = [];
        Random random = new(10);
        // Few pixels and long sums, with whole and ragged tiles; class logits, which are stored as one run; a sum into y itself.
        ConvolutionCase[] cases =
        [
            new(1, 5, 8, 128, 72, 3) { Bias = true, Residual = true, Relu = CudaRelu.First }, new(1, 4, 8, 512, 64, 1), new(1, 3, 7, 320, 19, 1) { Bias = true },
            new(2, 9, 5, 64, 128, 3, 2) { Bias = true, Relu = CudaRelu.Last }, new(1, 6, 6, 192, 40, 3) { Accumulate = true },
        ];
        foreach (ConvolutionCase c in cases)
        {
            using DeviceConvolution convolution = new(device, random, KernelDevice.Element(type), c, aligned: true);
            Assert.Equal(default, ConvMmaCuda.WorkspaceFor(device.Context.Device, convolution.Arguments));
            foreach (CudaLaunch launch in ConvMmaCuda.Candidates(device.Kernels, convolution.Arguments))
            {
                convolution.Reset();
                device.Run(launch);
                convolution.Y.AssertClose($"{c}, {launch}", convolution.Expected(), convolution.Error);
                double[] once = convolution.Y.Read(launch.ToString()).Data;
                convolution.Reset();
                device.Run(launch);
                Assert.Equal(once, convolution.Y.Read(launch.ToString()).Data);
                Assert.Equal(launch.ClusterBlocks > 1 ? "SPLIT=2" : "SPLIT=0", launch.Variant.Definitions.Split(' ').Single(d => d.StartsWith("SPLIT", StringComparison.Ordinal)));
                clusters.Add(launch.ClusterBlocks);
            }
        }
        Assert.True(clusters.Count > 2, $"clusters of {string.Join(", ", clusters)} blocks alone were tried");
    }

    [Theory]
    [InlineData("begin_meeting();\n    end_meeting();\n    // In eights", "// In eights")] // sums are read before they are there
    [InlineData("    end_meeting();\n#else", "#else")] // a block may leave while others read its sums
    public void ClustersWithoutOneOfTheirMeetingsAreFound(string there, string instead)
    {
        Assert.SkipWhen(KernelDevice.IsReal, "a device computes with what it happens to read");
        KernelDevice device = KernelDevice.WithKernels(90, new KernelFiles(name =>
        {
            if (KernelFiles.Embedded.Text(name) is not { } text || name != "conv_mma.cu") return KernelFiles.Embedded.Text(name);
            Assert.Contains(there, text, StringComparison.Ordinal);
            return text.Replace(there, instead, StringComparison.Ordinal);
        }));
        using DeviceConvolution convolution = new(device, new Random(6), CudaElement.Float16, new(1, 5, 8, 128, 72, 3), aligned: true);
        CudaLaunch launch = ConvMmaCuda.Prepare(device.Kernels, convolution.Arguments);
        Assert.True(launch.ClusterBlocks > 1, "a small map should share sums");
        Assert.Throws<CudaException>(() => device.Run(launch));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void SharedSumsWithoutOneOfTheirFencesAreFound(int removed)
    {
        Assert.SkipWhen(KernelDevice.IsReal, "a device computes with what it happens to read");
        const string Fence = "__threadfence();";
        KernelDevice device = KernelDevice.WithKernels(80, new KernelFiles(name =>
        {
            if (KernelFiles.Embedded.Text(name) is not { } text || name != "split_k.cuh") return KernelFiles.Embedded.Text(name);
            int at = text.IndexOf(Fence, StringComparison.Ordinal);
            if (removed == 1) at = text.IndexOf(Fence, at + 1, StringComparison.Ordinal);
            return text.Remove(at, Fence.Length);
        }));
        using DeviceConvolution convolution = new(device, new Random(6), CudaElement.Float16, new(1, 5, 8, 128, 72, 3), aligned: true);
        (long bytes, int tiles) = ConvMmaCuda.WorkspaceFor(device.Context.Device, convolution.Arguments);
        (CudaDeviceVariable<uint> memory, SplitWorkspace workspace) = SplitWorkspace.Allocate(device.Stream, bytes, tiles);
        using (memory)
        {
            CudaLaunch launch = ConvMmaCuda.Prepare(device.Kernels, convolution.Arguments, workspace);
            Assert.Contains("BlockConflict", Assert.Throws<CudaException>(() => device.Run(launch)).Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(16, 32, 128, 192, 3, 1)] // stage 4's RR
    [InlineData(16, 32, 256, 128, 1, 1)] // its projection
    [InlineData(64, 128, 128, 19, 1, 1)] // the classifier
    [InlineData(64, 64, 64, 32, 3, 2)] // an eighth of the stem's second convolution
    public void MovesLittleMoreThanItMust(int height, int width, int inputs, int outputs, int kernel, int stride)
    {
        KernelDevice device = KernelDevice.Usual;
        bool isClassifier = outputs == 19;
        ConvolutionCase c = new(1, height, width, inputs, outputs, kernel, stride) { Bias = true, Relu = isClassifier ? CudaRelu.None : CudaRelu.First };
        using DeviceConvolution convolution = new(device, new Random(7), CudaElement.Float16, c, aligned: true);
        CudaConvolution arguments = convolution.Arguments;
        LaunchStatistics counts = device.Count(ConvMmaCuda.Prepare(device.Kernels, arguments));
        LaunchCounts.AssertLoadsAtMost(1.25, arguments.Bytes - arguments.Y.Bytes, counts);
        LaunchCounts.AssertConflictsBelow(0.05, counts);
        LaunchCounts.AssertStoresAtLeast(0.9, arguments.Y.Bytes, counts);
    }

    [Theory]
    [InlineData(32, 64, 64, 64, 3, 1)] // a sixteenth of the stem's last convolution
    [InlineData(16, 32, 256, 128, 1, 1)] // stage 4's projection
    public void WarpgroupsMoveLittleMoreThanTheyMust(int height, int width, int inputs, int outputs, int kernel, int stride)
    {
        KernelDevice device = KernelDevice.On(KernelDevice.IsReal ? 0 : 90);
        Assert.SkipUnless(Warpgroups.AreOn(device.Context.Device), "the device has no wgmma");
        ConvolutionCase c = new(1, height, width, inputs, outputs, kernel, stride) { Bias = true, Relu = CudaRelu.First };
        using DeviceConvolution convolution = new(device, new Random(7), CudaElement.Float16, c, aligned: true);
        CudaConvolution arguments = convolution.Arguments;
        CudaLaunch launch = ConvMmaCuda.Candidates(device.Kernels, arguments).First(
            l => l.Variant.IsSpecific && l.Variant.Definitions.Contains($"TILE_N={outputs} ", StringComparison.Ordinal));
        LaunchStatistics counts = device.Count(launch);
        LaunchCounts.AssertLoadsAtMost(1.25, arguments.Bytes - arguments.Y.Bytes, counts);
        LaunchCounts.AssertConflictsBelow(0.05, counts);
        LaunchCounts.AssertStoresAtLeast(0.9, arguments.Y.Bytes, counts);
        // All products are warpgroups', and none of their reads meets another in a bank.
        Assert.Equal(0, counts.ByClass[(int)InstructionClass.Mma]);
        Assert.InRange(counts.Total.Flops, launch.Flops, launch.Flops * 1.1);
        Assert.Equal(0, counts.Lines.Where(l => l.Class == InstructionClass.Wgmma).Sum(l => l.Counters.SharedConflicts));
    }

    // What only hardware would show now and then, if the emulator did not.
    [Theory]
    [InlineData("publish_to_products();", "ProxyFence")]
    [InlineData("wait_for_products<1>();", "WgmmaNotAwaited")]
    [InlineData("begin_products();", "WgmmaFence")]
    [InlineData("close_products();", "WgmmaNotAwaited")]
    public void AMissingCallOfWarpgroupsIsFound(string call, string failure)
    {
        Assert.SkipWhen(KernelDevice.IsReal, "looks for what the emulator finds");
        string kernel = KernelFiles.Embedded.Kernel("conv_mma");
        Assert.Contains(call, kernel, StringComparison.Ordinal);
        KernelDevice device = KernelDevice.WithKernels(90, new KernelFiles(name =>
            name == "conv_mma.cu" ? kernel.Replace(call, "", StringComparison.Ordinal) : KernelFiles.Embedded.Text(name)));
        Assert.SkipUnless(Warpgroups.AreOn(device.Context.Device), "this NVRTC has no wgmma");
        // Enough steps that a stage is written again.
        using DeviceConvolution convolution = new(device, new Random(10), CudaElement.Float16, new(1, 8, 8, 512, 32, 3), aligned: true);
        CudaLaunch launch = ConvMmaCuda.Prepare(device.Kernels, convolution.Arguments, tile: "64x32-wgmma");
        CudaException error = Assert.Throws<CudaException>(() => device.Run(launch));
        Assert.Contains(failure, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void WarpgroupsAreForOneArchitecture()
    {
        Assert.SkipWhen(KernelDevice.IsReal, "asks for several devices");
        ConvolutionCase c = new(1, 32, 64, 64, 64, 3);
        foreach (int architecture in new[] { 80, 89, 90 })
        {
            KernelDevice device = KernelDevice.On(architecture);
            using DeviceConvolution convolution = new(device, new Random(9), CudaElement.Float16, c, aligned: true);
            bool hasWarpgroups = architecture == 90 && Warpgroups.AreOn(device.Context.Device);
            Assert.Equal(hasWarpgroups, ConvMmaCuda.Candidates(device.Kernels, convolution.Arguments).Any(l => l.Variant.IsSpecific));
        }
        Assert.All(KernelCatalog.All.Where(v => v.IsSpecific), v =>
        {
            Assert.True(v.RunsOn(new ComputeCapability(9, 0)));
            // Neither before nor after.
            Assert.False(v.RunsOn(new ComputeCapability(8, 9)) || v.RunsOn(new ComputeCapability(10, 0)) || v.RunsOn(new ComputeCapability(12, 0)));
        });
        Assert.True(FeatureSwitch.Allows(null) && FeatureSwitch.Allows("1") && !FeatureSwitch.Allows("0"));
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceConvolution convolution = new(device, new Random(8), CudaElement.Float16, new(1, 4, 4, 8, 8, 3), aligned: true);
        CudaConvolution good = convolution.Arguments;
        foreach (CudaConvolution bad in new[]
        {
            good with { Kernel = 5 }, good with { Stride = 2 }, good with { Stride = 3 }, good with { Weights = null },
            good with { Weights = layout => good.Weights!(layout) + 2 }, good with { BorderBias = true }, good with { Residual = good.Y.Slice(0, 4) },
            good with { Y = good.Y with { Element = CudaElement.BFloat16 } }, good with { X = good.X with { H = 3 } },
            good with { X = good.X with { Element = CudaElement.Float32 }, Y = good.Y with { Element = CudaElement.Float32 } },
        })
        {
            Assert.Throws<ArgumentException>(() => ConvMmaCuda.Prepare(device.Kernels, bad));
        }
    }
}
