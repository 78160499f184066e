using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class SirMmaCudaTests
{
    public static IEnumerable<TheoryDataRow<int, string>> Cases =>
        KernelDevice.ArchitecturesAndTypes.Where(r => r.Data.Item2 != "f32" && r.Data.Item1 is 0 or >= 80);

    /// <summary>Also where less shared memory leaves fewer stages, or fewer channels of the middle at a time.</summary>
    public static IEnumerable<TheoryDataRow<int, string>> CasesWithLittleRoom => KernelDevice.IsReal
        ? Cases : [.. Cases, new TheoryDataRow<int, string>(86, "f16") { Skip = TestDriver.WhyNot(86) }];

    /// <summary>The module as two convolutions over a stored middle map, and as one launch.</summary>
    private sealed class Module : IDisposable
    {
        private readonly KernelDevice _device;
        private readonly DeviceConvolution _expand, _project;

        public Module(KernelDevice device, Random random, CudaElement element, ConvolutionCase expand, int outputs)
        {
            _device = device;
            _expand = new DeviceConvolution(device, random, element, expand with { Bias = true, Relu = CudaRelu.First }, aligned: true);
            _project = new DeviceConvolution(
                device, random, element,
                new(expand.N, expand.OutHeight, expand.OutWidth, expand.Outputs, outputs, 1) { Bias = true, Residual = !expand.BorderBias }, aligned: true);
        }

        public DeviceSlice Y => _project.Y;

        public CudaSir Arguments => new(
            _expand.X.Map, Y.Map, _expand.Y.Map.C, _expand.Arguments.Stride, _expand.Arguments.Weights, _expand.Arguments.Bias,
            _project.Arguments.Weights)
        {
            BorderBias = _expand.Arguments.BorderBias, Bias = _project.Arguments.Bias, Residual = _project.Arguments.Residual,
        };

        public void Reset() => _project.Reset();

        public void RunUnfused()
        {
            _device.Run(ConvMmaCuda.Prepare(_device.Kernels, _expand.Arguments));
            _device.Run(ConvMmaCuda.Prepare(_device.Kernels, _project.Arguments with { X = _expand.Y.Map }));
        }

        public void Dispose()
        {
            _expand.Dispose();
            _project.Dispose();
        }
    }

    [Theory]
    [MemberData(nameof(CasesWithLittleRoom))]
    public void GivesTheBitsOfTwoConvolutions(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        // DWRSeg's own sizes with both strides; several images and ragged tiles; few channels; more than 192 in the middle.
        (ConvolutionCase Expand, int Outputs)[] cases =
        [
            (new(1, 8, 9, 64, 192, 3), 64), (new(1, 17, 10, 64, 192, 3, 2), 64), (new(2, 5, 11, 48, 144, 3), 48), (new(1, 3, 2, 8, 24, 3, 2), 16),
            (new(1, 4, 6, 64, 256, 3), 64),
        ];
        Random random = new(architecture + type.Length);
        foreach (var c in cases)
        {
            (double[] expected, double[] found, CudaLaunch launch, string text) = RunBoth(device, random, type, c.Expand, c.Outputs);
            Assert.DoesNotContain(expected, double.IsNaN);
            // A tensor core may add up in another order for a warpgroup than for a warp, which the two convolutions may be for; and they share sums where
            // there are clusters.
            if (launch.Variant.IsSpecific || Clusters.AreOn(device.Context.Device)) AssertWithinRounding(expected, found, type, text);
            else Assert.True(expected.AsSpan().SequenceEqual(found), text);
        }
    }

    // Over 64 inputs the kernel sums in another order (64 inputs of all taps at a time). That moves a sum by less than its rounding, which
    // can turn the rounding of a value between the convolutions, and y's: a few units in the last place of the largest.
    [Theory]
    [MemberData(nameof(Cases))]
    public void ManyInputsAndDecodersGiveWhatTwoConvolutionsDo(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        // 128 channels. The decoder: whole tiles, so that rows of logits are whole vectors; ragged ones, single lines and columns, all border;
        // several images; more than 128 in the middle; few inputs and vectors of outputs.
        (ConvolutionCase Expand, int Outputs)[] cases =
        [
            (new(1, 7, 9, 128, 384, 3), 128), (Decoder(1, 8, 16, 320, 128), 19), (Decoder(1, 5, 11, 320, 128), 11), (Decoder(2, 9, 8, 72, 128), 19),
            (Decoder(1, 1, 1, 320, 128), 19), (Decoder(1, 1, 16, 136, 128), 2), (Decoder(1, 9, 1, 64, 128), 1), (Decoder(1, 6, 8, 160, 200), 19),
            (Decoder(1, 10, 8, 16, 64), 24),
        ];
        Random random = new(architecture + type.Length);
        foreach (var c in cases)
        {
            (double[] expected, double[] found, CudaLaunch launch, string text) = RunBoth(device, random, type, c.Expand, c.Outputs);
            Assert.Equal(Warpgroups.AreOn(device.Context.Device), launch.Variant.IsSpecific);
            Assert.DoesNotContain(expected, double.IsNaN);
            AssertWithinRounding(expected, found, type, text);
        }

        static ConvolutionCase Decoder(int n, int h, int w, int inputs, int middle) => new(n, h, w, inputs, middle, 3) { BorderBias = true };
    }

    // What only hardware would show now and then, if the emulator did not.
    [Theory]
    [InlineData("wait_for_phase(filled + reading, reading_parity);", "BulkNotAwaited")]
    [InlineData("wait_for_phase(freed + writing, writing_parity);", "BulkNotAwaited")]
    [InlineData("if (lane < CLUSTER) arrive_at(freed + freeing, lane);", "Deadlock")]
    [InlineData("publish_barriers();", "Mbarrier")]
    [InlineData("publish_to_products();", "ProxyFence")]
    [InlineData("        publish_to_products();\n        __syncthreads();\n", "WarpRace")]
    [InlineData("        wait_for_copies<0>();\n        __syncthreads();\n", "CpAsyncNotAwaited")]
    [InlineData("#if WGMMA\n    end_meeting();\n#endif\n", "ClusterLifetime")]
    public void AMissingCallOfThePipelineIsFound(string call, string failure)
    {
        Assert.SkipWhen(KernelDevice.IsReal, "looks for what the emulator finds");
        string kernel = KernelFiles.Embedded.Kernel("sir_mma");
        Assert.Contains(call, kernel, StringComparison.Ordinal);
        KernelDevice device = KernelDevice.WithKernels(90, new KernelFiles(name =>
            name == "sir_mma.cu" ? kernel.Replace(call, "", StringComparison.Ordinal) : KernelFiles.Embedded.Text(name)));
        Assert.SkipUnless(Warpgroups.AreOn(device.Context.Device), "this NVRTC has no wgmma");
        using Module module = new(device, new Random(5), CudaElement.Float16, new(1, 8, 16, 64, 192, 3), 64);
        CudaLaunch launch = SirMmaCuda.Prepare(device.Kernels, module.Arguments);
        Assert.Equal(2, launch.ClusterBlocks);
        CudaException error = Assert.Throws<CudaException>(() => device.Run(launch));
        Assert.True(error.Message.Contains(failure, StringComparison.Ordinal), error.Message);
    }

    private static void AssertWithinRounding(double[] expected, double[] found, string type, string text)
    {
        double ulp = type == "f16" ? Math.ScaleB(1, -10) : Math.ScaleB(1, -7), largest = expected.Max(Math.Abs);
        double worst = expected.Zip(found).Max(p => p.First == p.Second ? 0 : Math.Abs(p.First - p.Second));
        Assert.True(worst <= 2 * ulp * largest, $"{text}: off by {worst} of {largest}");
    }

    private static (double[] Unfused, double[] Fused, CudaLaunch Launch, string Text) RunBoth(
        KernelDevice device, Random random, string type, ConvolutionCase expand, int outputs)
    {
        using Module module = new(device, random, KernelDevice.Element(type), expand, outputs);
        module.RunUnfused();
        double[] unfused = module.Y.Read("unfused").Data;
        module.Reset();
        CudaLaunch launch = SirMmaCuda.Prepare(device.Kernels, module.Arguments);
        device.Run(launch);
        return (unfused, module.Y.Read($"{expand}, {launch}").Data, launch, $"{expand}, {launch}");
    }

    [Theory]
    [InlineData(1, 80)]
    [InlineData(2, 80)]
    [InlineData(2, 86)]
    [InlineData(1, 90)]
    public void MovesLittleMoreThanItMust(int stride, int architecture)
    {
        // A quarter of stage 2 at 512x1024.
        KernelDevice device = KernelDevice.On(KernelDevice.IsReal ? 0 : architecture);
        using Module module = new(device, new Random(4), CudaElement.Float16, new(1, 32 * stride, 64 * stride, 64, 192, 3, stride), 64);
        CudaLaunch launch = SirMmaCuda.Prepare(device.Kernels, module.Arguments);
        LaunchStatistics counts = device.Count(launch);
        LaunchCounts.AssertLoadsAtMost(1.25, launch.Bytes - module.Y.Map.Bytes, counts);
        LaunchCounts.AssertStoresAtLeast(0.9, module.Y.Map.Bytes, counts);
        LaunchCounts.AssertConflictsBelow(0.05, counts);
    }

    [Fact]
    public void MovesLittleMoreThanItMustForADecoder()
    {
        // An eighth of the decoder at 512x1024. Rows of logits end between sectors, so a little of what they store to is a neighbour's.
        KernelDevice device = KernelDevice.Usual;
        using Module module = new(device, new Random(4), CudaElement.Float16, new(1, 16, 64, 320, 128, 3) { BorderBias = true }, 19);
        CudaLaunch launch = SirMmaCuda.Prepare(device.Kernels, module.Arguments);
        LaunchStatistics counts = device.Count(launch);
        LaunchCounts.AssertLoadsAtMost(1.25, launch.Bytes - module.Y.Map.Bytes, counts);
        LaunchCounts.AssertStoresAtLeast(0.9, module.Y.Map.Bytes, counts);
        LaunchCounts.AssertConflictsBelow(0.05, counts);
    }

    [Fact]
    public void ADecoderIsFusedWhereThatIsFaster()
    {
        KernelDevice device = KernelDevice.On(KernelDevice.IsReal ? 0 : 90);
        Assert.SkipWhen(KernelDevice.IsReal, "depends on the device's size");
        // DWRSeg-B at 512x1024 is one tile a multiprocessor of an H100.
        using Module whole = new(device, new Random(6), CudaElement.Float16, new(1, 64, 128, 320, 128, 3) { BorderBias = true }, 19);
        Assert.True(SirMmaCuda.IsFaster(device.Context.Device, whole.Arguments));
        // Four blocks on a device of a hundred multiprocessors: shared sums are faster.
        using Module small = new(device, new Random(6), CudaElement.Float16, new(1, 16, 16, 320, 128, 3) { BorderBias = true }, 19);
        Assert.False(SirMmaCuda.IsFaster(device.Context.Device, small.Arguments));
    }

    [Fact]
    public void WhatDoesNotFitIsLeftToTwoConvolutions()
    {
        KernelDevice device = KernelDevice.Usual;
        using Module module = new(device, new Random(5), CudaElement.Float16, new(1, 4, 4, 64, 192, 3), 64);
        CudaSir good = module.Arguments;
        Assert.True(SirMmaCuda.Fits(device.Context.Device, good));
        foreach (CudaSir bad in new[]
        {
            good with { X = good.X.Slice(0, 7) }, good with { X = good.X with { C = 256, PixelStride = 256 } },
            good with { X = good.X with { Element = CudaElement.Float32 }, Y = good.Y with { Element = CudaElement.Float32 }, Residual = null },
        })
        {
            Assert.False(SirMmaCuda.Fits(device.Context.Device, bad));
            Assert.Throws<ArgumentException>(() => SirMmaCuda.Prepare(device.Kernels, bad));
        }
    }
}
