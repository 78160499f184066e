using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Launches <c>conv_weight_gradient.cu</c>: the gradient of a dense convolution by its weights, in exact fp32.</summary>
internal static class ConvWeightGradientCuda
{
    private const int Tile = 64, Step = 16, Threads = 64, SumBytes = Tile * Tile * sizeof(float);

    // Enough blocks to hide each other's latency, each with some steps. The last one of a tile adds up all parts, which takes about as long as
    // a step takes for each two.
    private const int BlocksPerMultiprocessor = 4, LeastSteps = 8, MostSplits = 128;

    private static readonly SumSharing[] Sharings = [SumSharing.None, SumSharing.Memory];

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants => Sharings.SelectMany(s => (KernelVariant[])[Variant(s, true), Variant(s, false)]);

    /// <summary>The workspace that would let the launch be as fast as it can be.</summary>
    public static (long PartialBytes, int Tiles) WorkspaceFor(CudaDevice device, in DeviceMap x, in DeviceMap dy, int kernel)
    {
        int splits = SplitsFor(device, x, dy, kernel, SplitWorkspace.Unlimited);
        long tiles = TilesOf(x, dy, kernel);
        return splits == 1 ? default : (tiles * splits * SumBytes, (int)tiles);
    }

    /// <summary>Settles a launch.</summary>
    /// <param name="kernels">Where kernels come from.</param>
    /// <param name="x">The convolution's input, fp32.</param>
    /// <param name="dy">Its output's gradient.</param>
    /// <param name="dw">The weights' gradient, (O, K, K, I) in fp32.</param>
    /// <param name="kernel">1 or 3.</param>
    /// <param name="stride">1 or 2.</param>
    /// <param name="accumulate">Adds to what dw holds.</param>
    /// <param name="workspace">Memory for sums that blocks share.</param>
    /// <exception cref="ArgumentException">The maps do not fit each other or the kernel.</exception>
    public static CudaLaunch Prepare(
        KernelCache kernels, in DeviceMap x, in DeviceMap dy, CUdeviceptr dw, int kernel, int stride, bool accumulate,
        in SplitWorkspace workspace = default)
    {
        // What these sizes are of the convolution.
        CudaConvolution forward = new(x, dy, null, kernel, stride);
        forward.Validate("conv_weight_gradient");
        TrainingMaps.Validate("conv_weight_gradient, x", x);
        TrainingMaps.ValidateVectors("conv_weight_gradient, dw", dw);
        int splits = SplitsFor(kernels.Context.Device, x, dy, kernel, workspace);
        Arguments arguments = new()
        {
            X = x.Data, Dy = dy.Data, Dw = dw, Shape = forward.Shape, DyStride = dy.PixelStride, Accumulate = accumulate ? 1 : 0,
            Partials = workspace.Partials, Arrivals = workspace.Arrivals, ColumnTiles = (int)Grid.Blocks(ColumnsOf(x, kernel), Tile),
            Splits = splits, IsVector = dw.Value % CudaElements.VectorBytes == 0 && ColumnsOf(x, kernel) % 4 == 0 ? 1 : 0,
        };
        SumSharing sharing = splits == 1 ? SumSharing.None : SumSharing.Memory;
        long weightBytes = ColumnsOf(x, kernel) * dy.C * sizeof(float);
        return new CudaLaunch<Arguments>(
            kernels, Variant(sharing, x.IsVector && dy.IsVector), new Grid(TilesOf(x, dy, kernel) * splits), Threads, 0, arguments)
        {
            Bytes = forward.Bytes + (accumulate ? weightBytes : 0),
            Flops = forward.Flops,
        };
    }

    private static long ColumnsOf(in DeviceMap x, int kernel) => (long)kernel * kernel * x.C;

    private static long TilesOf(in DeviceMap x, in DeviceMap dy, int kernel) => Grid.Blocks(ColumnsOf(x, kernel), Tile) * Grid.Blocks(dy.C, Tile);

    private static int SplitsFor(CudaDevice device, in DeviceMap x, in DeviceMap dy, int kernel, in SplitWorkspace workspace)
    {
        long tiles = TilesOf(x, dy, kernel), steps = Grid.Blocks(dy.Pixels, Step);
        long wanted = Grid.Blocks((long)BlocksPerMultiprocessor * device.MultiprocessorCount, tiles);
        int splits = (int)Math.Clamp(Math.Min(wanted, steps / LeastSteps), 1, MostSplits);
        while (splits > 1 && !workspace.Holds(tiles, splits, SumBytes)) splits--;
        return splits;
    }

    private static KernelVariant Variant(SumSharing sharing, bool isVector) =>
        KernelVariant.Of("conv_weight_gradient", $"SPLIT={(int)sharing} WIDTH={(isVector ? 4 : 1)}");

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr X, Dy, Dw;
        public ConvShape Shape;
        public int DyStride, Accumulate;
        public CUdeviceptr Partials, Arrivals;
        public int ColumnTiles, Splits, IsVector;
    }
}
