using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>One branch of a launch of <c>dwr_sr_mma.cu</c>; its outputs stand in the concatenated map behind those of the branch before.</summary>
/// <param name="X">Its input slice.</param>
/// <param name="Weights">fp32, [9][channels of X · Multiplier].</param>
/// <param name="Bias">fp32, [channels of X · Multiplier]; 0 for none.</param>
/// <param name="Multiplier">Outputs of an input channel.</param>
/// <param name="Dilation">Of the 3x3 kernel; also its zero padding.</param>
internal readonly record struct CudaSrBranch(DeviceMap X, CUdeviceptr Weights, CUdeviceptr Bias, int Multiplier, int Dilation)
{
    public int Outputs => X.C * Multiplier;
}

/// <summary>
/// Launches <c>dwr_sr_mma.cu</c>: depth-wise branches, 1x1 convolution, shortcut. Where it does not fit, <see cref="DepthwiseConvCuda"/> and
/// <see cref="ConvMmaCuda"/> do the same in two launches.
/// </summary>
internal static class DwrSrMmaCuda
{
    private const int MaxBranches = 8, Side = 4, Threads = 128, Stages = 4, Row = 64, RowBytes = 128, Vector = 8, MostBlocks = 4;

    private static readonly ComputeCapability FirstArchitecture = new(8, 0);

    private static readonly int[] OutputTiles = [64, 128];

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants =>
        from element in new[] { CudaElement.Float16, CudaElement.BFloat16 } from outputs in OutputTiles
        from blocks in new[] { 1, 2, MostBlocks } select Variant(element, outputs, blocks);

    /// <summary>True where the kernel can run these branches on this device.</summary>
    /// <param name="device">The device.</param>
    /// <param name="branches">The branches.</param>
    /// <param name="projection">The 1x1 convolution; its x is the concatenated map, of which only the channels count.</param>
    public static bool Fits(CudaDevice device, ReadOnlySpan<CudaSrBranch> branches, in CudaConvolution projection)
    {
        if (device.ComputeCapability < FirstArchitecture || projection.Y.Element == CudaElement.Float32 || branches.Length is 0 or > MaxBranches) return false;
        if (projection.Epilogue.IsVector == 0 || SharedBytes(OutputTile(projection.Y.C), projection.X.C, 1) > device.MaxSharedBytesPerBlock) return false;
        foreach (CudaSrBranch b in branches)
        {
            // Half vectors where two outputs read one input.
            bool isAligned = b.X.Data.Value % 16 == 0 && b.X.PixelStride % Vector == 0 && b.Outputs % Vector == 0
                && b.Weights.Value % 16 == 0 && b.Bias.Value % 16 == 0;
            if (!isAligned || b.Multiplier is not (1 or 2)) return false;
        }
        return true;
    }

    /// <summary>The kernel that it launches.</summary>
    public static KernelVariant VariantFor(CudaDevice device, in CudaConvolution projection) =>
        Variant(projection.Y.Element, OutputTile(projection.Y.C), ClusterFor(device, projection));

    /// <summary>Settles a launch.</summary>
    /// <exception cref="ArgumentException">The branches don't fit the convolution, or <see cref="Fits"/> says no.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, ReadOnlySpan<CudaSrBranch> branches, in CudaConvolution projection, bool relu)
    {
        DeviceMap y = projection.Y;
        projection.Validate("dwr_sr_mma");
        if (projection is not { Kernel: 1, Stride: 1 }) throw new ArgumentException("dwr_sr_mma: the convolution behind the branches is 1x1 of stride 1.");
        if (!Fits(kernels.Context.Device, branches, projection))
            throw new ArgumentException($"dwr_sr_mma: these branches to {y} do not fit {kernels.Context.Device}: use depthwise_conv and a convolution.");
        int outputs = OutputTile(y.C);
        Arguments arguments = new()
        {
            Project = projection.WeightsIn(WeightLayout.Tiles(outputs, Row), "dwr_sr_mma"), Shape = projection.Shape, Epilogue = projection.Epilogue, Count = branches.Length, Relu = relu ? 1 : 0,
            TilesAcross = (int)Grid.Blocks(y.W, Side),
        };
        int channels = 0;
        long bytes = y.Bytes + (projection.Residual?.Bytes ?? 0) + (long)y.C * projection.X.C * y.Element.Bytes();
        for (int i = 0; i < branches.Length; i++)
        {
            CudaSrBranch b = branches[i];
            b.X.Validate($"dwr_sr_mma, branch {i}");
            if ((b.X.N, b.X.H, b.X.W, b.X.Element) != (y.N, y.H, y.W, y.Element) || b.Dilation < 1 || b.Weights.Value == 0)
                throw new ArgumentException($"dwr_sr_mma, branch {i}: {b} does not fit {y}.");
            arguments.Branches[i] = new Branch
            {
                X = b.X.Data, Weights = b.Weights, Bias = b.Bias, XStride = b.X.PixelStride, Multiplier = b.Multiplier,
                // From the map's longer side on, only the middle tap is inside; the kernel's coordinates stay within 32 bits.
                Dilation = Math.Min(b.Dilation, Math.Max(y.H, y.W)), First = channels, Channels = b.Outputs,
            };
            channels += b.Outputs;
            bytes += b.X.Bytes + 40L * b.Outputs;
        }
        if (channels != projection.X.C)
            throw new ArgumentException($"dwr_sr_mma: the branches make {channels} channels, the convolution reads {projection.X.C}.");
        int blocks = ClusterFor(kernels.Context.Device, projection), shared = SharedBytes(outputs, channels, blocks);
        var grid = new Grid(arguments.TilesAcross * Grid.Blocks(y.H, Side) * blocks, Grid.Blocks(y.C, outputs), y.N);
        var launch = new CudaLaunch<Arguments>(kernels, Variant(y.Element, outputs, blocks), grid, Threads, shared, arguments)
        {
            ClusterBlocks = blocks,
            Bytes = bytes,
            Flops = 2 * y.Pixels * channels * (9 + y.C),
        };
        launch.Kernel.AllowDynamicShared(shared);
        return launch;
    }

    // A block makes as many outputs as it can: another block would convolve all branches again.
    private static int OutputTile(int outputs) => outputs <= OutputTiles[0] ? OutputTiles[0] : OutputTiles[1];

    // Meeting costs more than it saves unless multiprocessors would be idle.
    private static int ClusterFor(CudaDevice device, in CudaConvolution projection)
    {
        DeviceMap y = projection.Y;
        long tiles = Grid.Blocks(y.W, Side) * Grid.Blocks(y.H, Side) * Grid.Blocks(y.C, OutputTile(y.C)) * y.N;
        int blocks = 1;
        if (!Clusters.AreOn(device)) return blocks;
        while (blocks < MostBlocks && Grid.Blocks(projection.X.C, Row) >= 2 * blocks && 2 * tiles * blocks <= device.MultiprocessorCount) blocks *= 2;
        return blocks;
    }

    private static int SharedBytes(int outputs, int channels, int blocks) =>
        (Stages * outputs + Side * Side * (int)Grid.Blocks(Grid.Blocks(channels, Row), blocks)) * RowBytes;

    private static KernelVariant Variant(CudaElement element, int outputs, int blocks) =>
        KernelVariant.Of("dwr_sr_mma", $"ELEMENT={element.KernelName()} OUTPUTS={outputs} CLUSTER={blocks}", element)
            with { FirstArchitecture = blocks > 1 ? Clusters.FirstArchitecture : FirstArchitecture, DynamicSharedBytes = null };

    [StructLayout(LayoutKind.Sequential)]
    private struct Branch
    {
        public CUdeviceptr X, Weights, Bias;
        public int XStride, Multiplier, Dilation, First, Channels, Padding;
    }

    [InlineArray(MaxBranches)]
    private struct BranchTable
    {
        private Branch _first;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public BranchTable Branches;
        public CUdeviceptr Project;
        public ConvShape Shape;
        public ConvEpilogue Epilogue;
        public int Count, Relu, TilesAcross, Padding;
    }
}
