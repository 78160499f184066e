using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class ConvWinogradCudaTests
{
    private static readonly string[] Tiles = ["winograd-128x64", "winograd-128x32"];

    // The tolerance is that of direct sums: transforms add roundings, and points that cancel, but a sum has a ninth of the terms.
    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void MatchesPlainLoops(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture);
        // One pixel; one row and one column; a tile and a little more; several blocks both ways, and of channels; two images.
        ConvolutionCase[] cases =
        [
            new(1, 1, 1, 1, 1, 3), new(1, 1, 40, 8, 4, 3), new(2, 19, 1, 3, 5, 3), new(1, 8, 16, 16, 64, 3),
            new(1, 9, 17, 20, 68, 3) { Bias = true, BorderBias = true },
            new(2, 10, 33, 24, 132, 3) { Bias = true, Residual = true, Relu = CudaRelu.First },
            new(1, 3, 5, 70, 20, 3) { Accumulate = true, Relu = CudaRelu.Last },
            .. Enumerable.Range(0, 10).Select(_ => ConvolutionCase.Random(random)).Select(c => c with { Kernel = 3, Stride = 1 }),
        ];
        foreach (ConvolutionCase c in cases)
        {
            using DeviceConvolution convolution = new(device, random, CudaElement.Float32, c);
            CudaConvolution arguments = convolution.Arguments;
            Assert.Equal(Tiles, ConvWinogradCuda.TilesFor(device.Context.Device, arguments));
            foreach (string tile in Tiles)
            {
                convolution.Reset();
                CudaLaunch launch = ConvWinogradCuda.Prepare(device.Kernels, arguments, tile);
                // Of 128x32, two blocks with two stages don't fit an sm_86 or sm_89.
                int stages = architecture < 80 || (architecture is 86 or 89 && tile == Tiles[1]) ? 1 : 2;
                Assert.EndsWith($"STAGES={stages}", launch.Variant.Definitions, StringComparison.Ordinal);
                device.Run(launch);
                convolution.Y.AssertClose($"{c}, {launch}", convolution.Expected(), convolution.Error);
            }
        }
    }

    [Theory]
    [InlineData(61)]
    [InlineData(80)]
    public void MovesLittleMoreThanItMust(int architecture)
    {
        // A SIR's 3x3 convolution, and stage 3's RR.
        KernelDevice device = KernelDevice.On(architecture);
        foreach (ConvolutionCase c in new ConvolutionCase[] { new(1, 32, 64, 64, 192, 3), new(1, 32, 64, 128, 128, 3) })
        {
            using DeviceConvolution convolution =
                new(device, new Random(7), CudaElement.Float32, c with { Bias = true, Relu = CudaRelu.First }, aligned: true);
            CudaConvolution arguments = convolution.Arguments;
            foreach (string tile in Tiles)
            {
                CudaLaunch launch = ConvWinogradCuda.Prepare(device.Kernels, arguments, tile);
                LaunchStatistics counts = device.Count(launch);
                // Four ninths of the products; and their sums, transforms and the end.
                Assert.Equal(arguments.Flops * 4 / 9, launch.Flops);
                Assert.InRange(counts.Total.Flops, launch.Flops, 1.2 * launch.Flops);
                LaunchCounts.AssertLoadsAtMost(1.05, launch.Bytes - arguments.Y.Bytes, counts);
                LaunchCounts.AssertStoresAtLeast(0.9, arguments.Y.Bytes, counts);
                LaunchCounts.AssertConflictsBelow(0.001, counts);
            }
        }
    }

    [Fact]
    public void OthersAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        ConvolutionCase fits = new(1, 4, 4, 8, 8, 3);
        foreach ((ConvolutionCase c, CudaElement element) in new[]
        {
            (fits with { Kernel = 1 }, CudaElement.Float32), (fits with { Stride = 2 }, CudaElement.Float32), (fits, CudaElement.Float16),
        })
        {
            using DeviceConvolution convolution = new(device, new Random(8), element, c, aligned: true);
            CudaConvolution arguments = convolution.Arguments;
            Assert.Empty(ConvWinogradCuda.TilesFor(device.Context.Device, arguments));
            Assert.Throws<ArgumentException>(() => ConvWinogradCuda.Prepare(device.Kernels, arguments));
        }
    }

    [Theory]
    [InlineData(8191, true)]
    [InlineData(8192, false)]
    public void AMapWhoseElementsDoNotFit31BitsIsLeftToOthers(int height, bool fits)
    {
        DeviceMap map = new(new CUdeviceptr(CudaCover.AnyAddress), CudaElement.Float32, 1, height, 8192, 8, 32);
        CudaConvolution c = new(map, map with { C = 4 }, null, 3);
        Assert.Equal(fits, ConvWinogradCuda.TilesFor(KernelDevice.Usual.Context.Device, c).Count > 0);
        Assert.Equal(fits, Float32Convolution.TilesFor(KernelDevice.Usual.Context.Device, c).Count > 3);
    }
}
