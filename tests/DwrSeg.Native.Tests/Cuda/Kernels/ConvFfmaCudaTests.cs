using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class ConvFfmaCudaTests
{
    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void MatchesPlainLoops(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture);
        // One pixel; an image's three channels; the classifier's odd number of outputs; several tiles of both; a map of one row.
        ConvolutionCase[] cases =
        [
            new(1, 1, 1, 1, 1, 3), new(1, 9, 11, 3, 32, 3, 2), new(1, 6, 7, 128, 19, 1) { Bias = true }, new(2, 9, 10, 36, 132, 3) { Bias = true },
            new(1, 1, 40, 64, 64, 3, 2), new(1, 3, 5, 320, 20, 3), new(1, 5, 4, 12, 320, 1, 2), .. Enumerable.Range(0, 10).Select(_ => ConvolutionCase.Random(random)),
        ];
        foreach (ConvolutionCase c in cases)
        {
            using DeviceConvolution convolution = new(device, random, CudaElement.Float32, c);
            CudaLaunch launch = ConvFfmaCuda.Prepare(device.Kernels, convolution.Arguments);
            device.Run(launch);
            convolution.Y.AssertClose($"{c}, {launch}", convolution.Expected(), convolution.Error);
        }
    }

    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void SharedSumsMatch(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        ConvolutionCase c = new(1, 5, 8, 64, 68, 3) { Bias = true, Residual = true, Relu = CudaRelu.Last };
        using DeviceConvolution convolution = new(device, new Random(6), CudaElement.Float32, c, aligned: true);
        (long bytes, int tiles) = ConvFfmaCuda.WorkspaceFor(device.Context.Device, convolution.Arguments);
        bool inClusters = Clusters.AreOn(device.Context.Device);
        Assert.Equal(inClusters, tiles == 0);
        (CudaDeviceVariable<uint> memory, SplitWorkspace workspace) = SplitWorkspace.Allocate(device.Stream, bytes, Math.Max(tiles, 1));
        using (memory)
        {
            CudaLaunch launch = ConvFfmaCuda.Prepare(device.Kernels, convolution.Arguments, workspace);
            Assert.Contains(inClusters ? "SPLIT=2" : "SPLIT=1", launch.Variant.Definitions, StringComparison.Ordinal);
            Assert.Equal(inClusters, launch.ClusterBlocks > 1);
            for (int run = 0; run < 2; run++)
            {
                convolution.Reset();
                device.Run(launch);
                convolution.Y.AssertClose($"{launch}, run {run}", convolution.Expected(), convolution.Error);
            }
        }
    }

    [Theory]
    [InlineData(16, 32, 128, 192, 3, 1)] // stage 4's RR
    [InlineData(16, 32, 256, 128, 1, 1)] // its projection
    public void MovesLittleMoreThanItMust(int height, int width, int inputs, int outputs, int kernel, int stride)
    {
        KernelDevice device = KernelDevice.Usual;
        ConvolutionCase c = new(1, height, width, inputs, outputs, kernel, stride) { Bias = true, Relu = CudaRelu.First };
        using DeviceConvolution convolution = new(device, new Random(7), CudaElement.Float32, c, aligned: true);
        CudaConvolution arguments = convolution.Arguments;
        LaunchStatistics counts = device.Count(ConvFfmaCuda.Prepare(device.Kernels, arguments));
        LaunchCounts.AssertLoadsAtMost(1.25, arguments.Bytes - arguments.Y.Bytes, counts);
        LaunchCounts.AssertStoresAtLeast(0.9, arguments.Y.Bytes, counts);
        LaunchCounts.AssertConflictsBelow(0.05, counts);
    }

    [Fact]
    public void OtherTypesAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceConvolution convolution = new(device, new Random(8), CudaElement.Float16, new(1, 4, 4, 8, 8, 3), aligned: true);
        Assert.Throws<ArgumentException>(() => ConvFfmaCuda.Prepare(device.Kernels, convolution.Arguments));
    }
}
