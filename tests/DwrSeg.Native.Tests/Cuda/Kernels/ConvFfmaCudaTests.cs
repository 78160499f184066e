using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Tests.Backends.Cpu;
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
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void TransposedMatchesPlainLoops(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture);
        // One pixel, one row, one column; even and odd sizes, of which the edges differ; tiles of one parity and of several.
        ConvolutionCase[] cases =
        [
            new(1, 1, 1, 1, 1, 3, 2), new(1, 1, 9, 5, 3, 3, 2), new(2, 8, 1, 4, 8, 3, 2), new(1, 26, 28, 4, 8, 3, 2), new(1, 17, 19, 68, 36, 3, 2),
            new(1, 40, 30, 8, 16, 1, 2), new(1, 2, 2, 3, 19, 1, 2),
            .. Enumerable.Range(0, 8).Select(_ => ConvolutionCase.Random(random) with { Stride = 2, BorderBias = false }),
        ];
        bool accumulate = false;
        foreach (ConvolutionCase c in cases)
        {
            accumulate = !accumulate;
            using DeviceSlice dy = DeviceSlice.Random(random, device, CudaElement.Float32, (c.N, c.OutHeight, c.OutWidth, c.Outputs));
            using DeviceSlice dx = DeviceSlice.Random(random, device, CudaElement.Float32, (c.N, c.H, c.W, c.Inputs));
            Doubles gradient = dy.Randomise(random), expected = accumulate ? dx.Randomise(random) : new Doubles(c.N, c.H, c.W, c.Inputs);
            int taps = c.Kernel * c.Kernel;
            double scale = Math.Sqrt(3.0 / (taps * c.Outputs));
            double[] weights = [.. Enumerable.Range(0, c.Outputs * taps * c.Inputs).Select(_ => (double)(float)((random.NextDouble() * 2 - 1) * scale))];
            AddDataGradient(c, weights, gradient, expected);
            using CudaDeviceVariable<float> plain = device.UploadFloats(weights);
            using CudaDeviceVariable<byte> packed = new(device.Context, 4 * WeightLayout.Columns.ElementsOf(c.Inputs, taps, c.Outputs));
            CudaLaunch launch = ConvFfmaCuda.PrepareTransposed(device.Kernels, dy.Map, dx.Map, Pack, c.Kernel, accumulate);
            device.Run(launch);
            dx.AssertClose($"{c}, {launch}", expected, Math.Sqrt(taps * c.Outputs + 8) * Math.ScaleB(4, -24));

            CUdeviceptr Pack(WeightLayout layout)
            {
                device.Run(PackWeightsCuda.Prepare(
                    device.Kernels, plain.DevicePointer, packed.DevicePointer, CudaElement.Float32, layout, c.Inputs, taps, c.Outputs,
                    WeightUse.Transposed));
                return packed.DevicePointer;
            }
        }
    }

    [Fact]
    public void ParitiesTakeTheirOwnTapsAlone()
    {
        // Nine taps are shared by the pixels of four parities: a quarter of what all pixels would take with all taps, and little of the edges.
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice dy = new(device, CudaElement.Float32, (1, 32, 64, 64)), dx = new(device, CudaElement.Float32, (1, 64, 128, 64));
        dy.Randomise(new Random(1));
        using CudaDeviceVariable<float> weights = device.UploadFloats(new double[64 * 9 * 64]);
        CudaLaunch launch = ConvFfmaCuda.PrepareTransposed(device.Kernels, dy.Map, dx.Map, _ => weights.DevicePointer, 3, accumulate: false);
        LaunchStatistics counts = device.Count(launch);
        Assert.InRange(counts.Total.Flops, launch.Flops, 1.05 * launch.Flops);
        LaunchCounts.AssertLoadsAtMost(1.05, dy.Map.Bytes + 4 * weights.Size, counts);
    }

    private static void AddDataGradient(ConvolutionCase c, double[] weights, Doubles dy, Doubles dx)
    {
        int taps = c.Kernel * c.Kernel;
        for (int n = 0; n < c.N; n++)
        for (int row = 0; row < c.OutHeight; row++)
        for (int column = 0; column < c.OutWidth; column++)
        for (int tap = 0; tap < taps; tap++)
        {
            int y = row * c.Stride + tap / c.Kernel - c.Kernel / 2, x = column * c.Stride + tap % c.Kernel - c.Kernel / 2;
            if (y < 0 || y >= c.H || x < 0 || x >= c.W) continue;
            for (int o = 0; o < c.Outputs; o++)
            for (int i = 0; i < c.Inputs; i++)
                dx[n, y, x, i] += dy[n, row, column, o] * weights[(o * taps + tap) * c.Inputs + i];
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
