using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

public sealed class SirMmaCudaTests
{
    public static IEnumerable<TheoryDataRow<int, string>> Cases =>
        KernelDevice.ArchitecturesAndTypes.Where(r => r.Data.Item2 != "f32" && r.Data.Item1 is 0 or >= 80);

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
                device, random, element, new(expand.N, expand.OutHeight, expand.OutWidth, expand.Outputs, outputs, 1) { Bias = true, Residual = true },
                aligned: true);
        }

        public DeviceSlice Y => _project.Y;

        public CudaSir Arguments => new(
            _expand.X.Map, Y.Map, _expand.Y.Map.C, _expand.Arguments.Stride, _expand.Arguments.Weights, _expand.Arguments.Bias,
            _project.Arguments.Weights)
        {
            Bias = _project.Arguments.Bias, Residual = _project.Arguments.Residual,
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
    [MemberData(nameof(Cases))]
    public void GivesTheBitsOfTwoConvolutions(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        // DWRSeg's own sizes with both strides; several images and ragged tiles; few channels; more than 192 in the middle; 128 channels.
        (ConvolutionCase Expand, int Outputs)[] cases =
        [
            (new(1, 8, 9, 64, 192, 3), 64), (new(1, 17, 10, 64, 192, 3, 2), 64), (new(2, 5, 11, 48, 144, 3), 48), (new(1, 3, 2, 8, 24, 3, 2), 16),
            (new(1, 4, 6, 64, 256, 3), 64), (new(1, 7, 9, 128, 384, 3), 128),
        ];
        Random random = new(architecture + type.Length);
        foreach (var c in cases)
        {
            using Module module = new(device, random, KernelDevice.Element(type), c.Expand, c.Outputs);
            module.RunUnfused();
            double[] expected = module.Y.Read("unfused").Data;
            module.Reset();
            CudaLaunch launch = SirMmaCuda.Prepare(device.Kernels, module.Arguments);
            device.Run(launch);
            Assert.DoesNotContain(expected, double.IsNaN);
            Assert.Equal(expected, module.Y.Read($"{c}, {launch}").Data);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void MovesLittleMoreThanItMust(int stride)
    {
        // A quarter of stage 2 at 512x1024.
        KernelDevice device = KernelDevice.Usual;
        using Module module = new(device, new Random(4), CudaElement.Float16, new(1, 32 * stride, 64 * stride, 64, 192, 3, stride), 64);
        CudaLaunch launch = SirMmaCuda.Prepare(device.Kernels, module.Arguments);
        LaunchStatistics counts = device.Count(launch);
        LaunchCounts.AssertLoadsAtMost(1.25, launch.Bytes - module.Y.Map.Bytes, counts);
        LaunchCounts.AssertStoresAtLeast(0.9, module.Y.Map.Bytes, counts);
        LaunchCounts.AssertConflictsBelow(0.05, counts);
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
