using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class ConvWeightGradientCudaTests
{
    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void MatchesPlainLoops(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture);
        // One pixel; an image's three channels; the classifier; several tiles of both; a map of one row; enough pixels to be shared.
        ConvolutionCase[] cases =
        [
            new(1, 1, 1, 1, 1, 3), new(2, 9, 11, 3, 32, 3, 2), new(1, 6, 7, 128, 19, 1), new(2, 9, 10, 36, 132, 3), new(1, 1, 40, 8, 64, 3, 2),
            new(1, 5, 4, 12, 20, 1, 2), new(2, 20, 21, 16, 12, 3), .. Enumerable.Range(0, 6).Select(_ => ConvolutionCase.Random(random)),
        ];
        int number = 0;
        foreach (ConvolutionCase c in cases)
        {
            using DeviceConvolution convolution = new(device, random, CudaElement.Float32, c);
            CudaConvolution arguments = convolution.Arguments;
            Doubles dy = convolution.Y.Randomise(random);
            (long bytes, int tiles) = ConvWeightGradientCuda.WorkspaceFor(device.Context.Device, arguments.X, arguments.Y, c.Kernel);
            (CudaDeviceVariable<uint> memory, SplitWorkspace workspace) = SplitWorkspace.Allocate(device.Stream, bytes, Math.Max(tiles, 1));
            using (memory)
            {
                // By turns, each way of summing.
                number++;
                foreach ((SplitWorkspace given, bool accumulate) in new[] { (workspace, number % 2 == 0), (SplitWorkspace.None, number % 2 == 1) })
                {
                    using DeviceSlice dw = new(device, CudaElement.Float32, (1, 1, 1, c.Outputs * c.Kernel * c.Kernel * c.Inputs));
                    Doubles expected = Expected(c, convolution.Input, dy);
                    if (accumulate)
                    {
                        double[] before = dw.Randomise(random).Data;
                        for (int i = 0; i < before.Length; i++) expected.Data[i] += before[i];
                    }
                    CudaLaunch launch = ConvWeightGradientCuda.Prepare(
                        device.Kernels, arguments.X, arguments.Y, dw.Map.Data, c.Kernel, c.Stride, accumulate, given);
                    device.Run(launch);
                    dw.AssertClose($"{c}, {launch}", expected, Error(c));
                    if (accumulate) continue;
                    double[] first = dw.Read("first run").Data;
                    device.Run(launch);
                    Assert.Equal(first, dw.Read("second run").Data);
                }
            }
        }
    }

    [Fact]
    public void SharesSumsWhereTilesAreFew()
    {
        KernelDevice device = KernelDevice.Usual;
        DeviceMap x = new(new(CudaCover.AnyAddress), CudaElement.Float32, 1, 64, 128, 64, 64);
        (long bytes, int tiles) = ConvWeightGradientCuda.WorkspaceFor(device.Context.Device, x, x, 3);
        Assert.Equal(9, tiles);
        Assert.InRange(bytes / (tiles * 64 * 64 * 4), 2, 128);
    }

    [Fact]
    public void MovesLittleMoreThanItMust()
    {
        // Of a SIR's 3x3 convolution, a fourth of its size, with all sums in one block: parts of sums would count.
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 32, 64, 64)), dy = new(device, CudaElement.Float32, (1, 32, 64, 192));
        using DeviceSlice dw = new(device, CudaElement.Float32, (1, 1, 1, 192 * 9 * 64));
        x.Randomise(new Random(1));
        dy.Randomise(new Random(2));
        LaunchStatistics counts = device.Count(ConvWeightGradientCuda.Prepare(device.Kernels, x.Map, dy.Map, dw.Map.Data, 3, 1, accumulate: false));
        LaunchCounts.AssertLoadsAtMost(1.05, x.Map.Bytes + dy.Map.Bytes, counts);
        LaunchCounts.AssertStoresAtLeast(0.9, dw.Map.Bytes, counts);
        LaunchCounts.AssertConflictsBelow(0.03, counts);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 5, 5, 8)), dy = new(device, CudaElement.Float32, (1, 5, 4, 8));
        using DeviceSlice half = new(device, CudaElement.Float16, (1, 5, 5, 8));
        Assert.Throws<ArgumentException>(() => ConvWeightGradientCuda.Prepare(device.Kernels, x.Map, dy.Map, x.Map.Data, 3, 1, false));
        Assert.Throws<ArgumentException>(() => ConvWeightGradientCuda.Prepare(device.Kernels, half.Map, half.Map, x.Map.Data, 3, 1, false));
        Assert.Throws<ArgumentException>(() => ConvWeightGradientCuda.Prepare(device.Kernels, x.Map, x.Map, default, 3, 1, false));
    }

    // Rounding of fp32 sums of so many products of order one: a random walk of partial sums as long as they.
    private static double Error(ConvolutionCase c) => (c.N * c.OutHeight * c.OutWidth + 8) * Math.ScaleB(2, -24);

    private static Doubles Expected(ConvolutionCase c, Doubles x, Doubles dy)
    {
        int taps = c.Kernel * c.Kernel;
        Doubles dw = new(1, 1, 1, c.Outputs * taps * c.Inputs);
        for (int n = 0; n < c.N; n++)
        for (int row = 0; row < c.OutHeight; row++)
        for (int column = 0; column < c.OutWidth; column++)
        for (int tap = 0; tap < taps; tap++)
        {
            int y = row * c.Stride + tap / c.Kernel - c.Kernel / 2, z = column * c.Stride + tap % c.Kernel - c.Kernel / 2;
            if (y < 0 || y >= c.H || z < 0 || z >= c.W) continue;
            for (int o = 0; o < c.Outputs; o++)
            for (int i = 0; i < c.Inputs; i++)
                dw.Data[(o * taps + tap) * c.Inputs + i] += dy[n, row, column, o] * x[n, y, z, i];
        }
        return dw;
    }
}
