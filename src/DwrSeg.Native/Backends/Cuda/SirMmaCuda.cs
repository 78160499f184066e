using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>A Simple Inverted Residual, or the decoder with its classifier: y = epilogue(conv1x1(relu(conv3x3(x) + bias))).</summary>
/// <param name="X">The input.</param>
/// <param name="Y">The output; must not overlap <paramref name="X"/>.</param>
/// <param name="Middle">Channels between the convolutions.</param>
/// <param name="Stride">Of the 3x3 convolution.</param>
/// <param name="Expand">Gives its weights.</param>
/// <param name="ExpandBias">fp32, [middle], or with <see cref="BorderBias"/> [16][middle]; 0 for none.</param>
/// <param name="Project">Gives the weights of the 1x1 convolution.</param>
internal readonly record struct CudaSir(
    DeviceMap X, DeviceMap Y, int Middle, int Stride, WeightPacking? Expand, CUdeviceptr ExpandBias, WeightPacking? Project)
{
    /// <summary>The 3x3 convolution's bias depends on which taps lie inside the map (<see cref="Conv2d.BorderCases"/> rows).</summary>
    public bool BorderBias { get; init; }

    /// <summary>fp32, [outputs]; 0 for none.</summary>
    public CUdeviceptr Bias { get; init; }

    /// <summary>The shortcut.</summary>
    public DeviceMap? Residual { get; init; }

    public CudaRelu Relu { get; init; }

    /// <summary>Its first half as a convolution, whose output exists only within the kernel: y with its channels stands for it.</summary>
    public CudaConvolution Expansion => new(X, Y with { C = Middle, PixelStride = Math.Max(Middle, Y.PixelStride) }, Expand, 3, Stride)
    {
        Bias = ExpandBias, BorderBias = BorderBias, Relu = CudaRelu.First,
    };

    /// <summary>Its second half as a convolution, whose input exists only within the kernel: it stands for the sizes of y's side.</summary>
    public CudaConvolution Projection => new(Y with { C = Middle, PixelStride = Math.Max(Middle, Y.PixelStride) }, Y, Project, 1)
    {
        Bias = Bias, Residual = Residual, Relu = Relu,
    };
}

/// <summary>Launches <c>sir_mma.cu</c>. Where it does not fit, two launches of <see cref="ConvMmaCuda"/> do the same.</summary>
internal static class SirMmaCuda
{
    private const int Side = 8, Threads = 256, Row = 64, RowBytes = 128, DeepStages = 5;

    private static readonly ComputeCapability FirstArchitecture = new(8, 0);

    private static readonly int[] Clustered = [2, 1];

    // All of DWRSeg's SIR modules have 64 inputs and outputs; 128 are for wider ones. Two stages are for the 99 KiB of sm_86 and sm_89, where a
    // stride of 2 leaves room for 64 channels of the middle at a time. The last is the decoder's: 320 inputs, 128 channels, 19 classes. Where
    // there are warpgroups they come first, in clusters of two blocks where there are clusters, unless time says that each block alone is faster; with
    // five stages where each multiprocessor has a block at most, whose weights' latency nothing else hides.
    private static readonly Size[] Sizes =
    [
        .. WithWarpgroups(new(64, 192, 64, 1, 3)), .. WithWarpgroups(new(64, 192, 64, 2, 3)), .. WithWarpgroups(new(128, 192, 128, 1, 3)),
        .. WithWarpgroups(new(512, 128, 64, 1, 3, HasBorder: true)),
        new(64, 192, 64, 1, 3), new(64, 192, 64, 1, 2), new(64, 192, 64, 2, 3), new(64, 64, 64, 2, 4), new(128, 192, 128, 1, 3),
        new(512, 128, 64, 1, 3, HasBorder: true),
    ];

    /// <summary>The values that the kernel is specialised by.</summary>
    /// <param name="Inputs">The most inputs.</param>
    /// <param name="Middle">Channels of the middle at a time.</param>
    /// <param name="Outputs">The most outputs.</param>
    /// <param name="Stride">Of the 3x3 convolution.</param>
    /// <param name="Stages">Tiles of weights, on their way or being read.</param>
    /// <param name="HasBorder">For a <see cref="CudaSir.BorderBias"/>.</param>
    /// <param name="HasWarpgroups">Products are <c>wgmma</c>.</param>
    /// <param name="ClusterBlocks">Blocks that fetch weights together; only where products are <c>wgmma</c>.</param>
    private sealed record Size(
        int Inputs, int Middle, int Outputs, int Stride, int Stages, bool HasBorder = false, bool HasWarpgroups = false, int ClusterBlocks = 1)
    {
        // Two barriers of 8 bytes.
        private const int StageBarrierBytes = 16;

        /// <summary>It takes room for which a second block would have to go.</summary>
        public bool IsDeep => Stages == DeepStages;

        // As many as the assembler reports, or a few more.
        private int Registers => !HasWarpgroups ? 168 : Halos == 1 ? 128 : Outputs > Row ? 208 : 168;

        private int Halos => Inputs > Row ? 2 : 1;

        private int HaloPixels => (Side * Stride + 3 - Stride) * (Side * Stride + 3 - Stride);

        public int SharedBytes => (Halos * HaloPixels + Middle * (Stages + 1)) * RowBytes + (HasWarpgroups ? Stages * StageBarrierBytes : 0);

        /// <summary>As a convolution's tile it stands for the first half of the work.</summary>
        public ConvTile Tile => new(Side * Side, Middle, Row, Threads, SharedBytes, Registers)
        {
            HasWarpgroups = HasWarpgroups, CopiedPixels = HaloPixels / 9.0,
        };

        /// <summary>The kernel of warpgroups has no registers for the sums of more than one pass over the middle where it has one halo.</summary>
        public bool Takes(int middle) => !HasWarpgroups || Halos > 1 || middle <= Middle;

        public KernelVariant Variant(CudaElement element) =>
            KernelVariant.Of(
                "sir_mma",
                $"ELEMENT={element.KernelName()} HALOS={Halos} MIDDLE={Middle} OUTPUTS={Outputs} STRIDE={Stride} STAGES={Stages} BORDER={(HasBorder ? 1 : 0)}{(HasWarpgroups ? $" WGMMA=1 CLUSTER={ClusterBlocks}" : "")}",
                element) with
            {
                FirstArchitecture = HasWarpgroups ? Warpgroups.Architecture : SirMmaCuda.FirstArchitecture, IsSpecific = HasWarpgroups,
                DynamicSharedBytes = SharedBytes,
            };
    }

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants =>
        from element in new[] { CudaElement.Float16, CudaElement.BFloat16 }
        from size in Sizes
        select size.Variant(element);

    /// <summary>True where the kernel can run the module on this device.</summary>
    public static bool Fits(CudaDevice device, in CudaSir s) => Choose(device, s) is not null;

    /// <summary>
    /// False where the model of <see cref="ConvTile"/> finds two convolutions faster. A decoder is one large convolution, which other tiles and
    /// shared sums may spread better over a device than tiles of 8x8 pixels do, and so may a SIR's; what fusing saves is the second launch and the map
    /// between.
    /// </summary>
    public static bool IsFaster(CudaDevice device, in CudaSir s)
    {
        if (Choose(device, s) is not { } size) return false;
        double rate = ConvMmaCuda.Rate(device.ComputeCapability), passes = Math.Ceiling((double)s.Middle / size.Middle);
        CudaConvolution pass = s.Expansion with { Y = s.Expansion.Y with { C = size.Middle } };
        double outputSteps = Math.Ceiling((double)s.Y.C / Row) / size.Tile.StepsOf(pass);
        double fused = size.Tile.Cycles(pass, 1, device, rate) * passes * (1 + outputSteps);
        return fused < ConvMmaCuda.Cycles(device, s.Expansion) + ConvMmaCuda.Cycles(device, s.Projection);
    }

    /// <summary>Blocks that may fetch weights together, the numbers that a module can be launched with; what a launch takes by itself comes first.</summary>
    public static IReadOnlyList<int> ClusterSizes(CudaDevice device, CudaSir s) =>
        [.. Clustered.Where(blocks => Choose(device, s, blocks) is not null)];

    /// <summary>The kernels that these launch.</summary>
    public static IEnumerable<KernelVariant> VariantsFor(CudaDevice device, CudaSir s) =>
        ClusterSizes(device, s).Select(blocks => Choose(device, s, blocks)!.Variant(s.X.Element));

    /// <summary>Settles a launch.</summary>
    /// <param name="kernels">Kernels of the device.</param>
    /// <param name="s">The module.</param>
    /// <param name="clusterBlocks">One of <see cref="ClusterSizes"/>; null for the first.</param>
    /// <exception cref="ArgumentException">The module is malformed, or <see cref="Fits"/> says no.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, in CudaSir s, int? clusterBlocks = null)
    {
        s.Projection.Validate("sir_mma");
        s.Expansion.Validate("sir_mma, expansion");
        if (Choose(kernels.Context.Device, s, clusterBlocks) is not { } size)
        {
            throw new ArgumentException(
                $"sir_mma: {s.X} to {s.Y} with stride {s.Stride} does not fit {kernels.Context.Device}: use two convolutions.");
        }
        CUdeviceptr expand = s.Expansion.WeightsIn(WeightLayout.Tiles(size.Middle, Row), "sir_mma, expansion");
        CUdeviceptr project = s.Projection.WeightsIn(WeightLayout.Tiles(Row, Row, size.Middle / Row), "sir_mma");
        Arguments arguments = new()
        {
            X = s.X.Data, Weights = expand, Bias = s.ExpandBias, Project = project, Middle = s.Middle, TilesAcross = (int)Grid.Blocks(s.Y.W, Side),
            Shape = s.Expansion.Shape with { Outputs = s.Y.C },
            Epilogue = s.Projection.Epilogue,
        };
        // A block without a tile fetches its part of the weights, and stores nothing.
        var grid = new Grid(Grid.Blocks(arguments.TilesAcross * Grid.Blocks(s.Y.H, Side), size.ClusterBlocks) * size.ClusterBlocks, 1, s.Y.N);
        long weights = (9L * s.X.C + s.Y.C) * s.Middle;
        var launch = new CudaLaunch<Arguments>(kernels, size.Variant(s.X.Element), grid, Threads, size.SharedBytes, arguments)
        {
            ClusterBlocks = size.ClusterBlocks,
            Bytes = s.X.Bytes + s.Y.Bytes + (s.Residual is { } r && r.Data != s.X.Data ? r.Bytes : 0) + weights * s.X.Element.Bytes()
                + 4L * s.Middle * (s.BorderBias ? Conv2d.BorderCases : 1),
            Flops = 2 * s.Y.Pixels * weights,
        };
        launch.Kernel.AllowDynamicShared(size.SharedBytes);
        return launch;
    }

    private static Size[] WithWarpgroups(Size size)
    {
        size = size with { HasWarpgroups = true };
        Size deep = size with { Stages = DeepStages };
        return [deep with { ClusterBlocks = 2 }, size with { ClusterBlocks = 2 }, deep, size];
    }

    private static Size? Choose(CudaDevice device, CudaSir s, int? clusterBlocks = null)
    {
        if (device.ComputeCapability < FirstArchitecture || s.X.Element == CudaElement.Float32 || !s.X.IsVector) return null;
        // Single values are stored well enough only where there are few; the decoder's logits have rows.
        if (s.Projection.Epilogue.IsVector == 0 && !s.BorderBias) return null;
        bool hasWarpgroups = Warpgroups.AreOn(device), hasClusters = Clusters.AreOn(device);
        long tiles = Grid.Blocks(s.Y.W, Side) * Grid.Blocks(s.Y.H, Side) * s.Y.N;
        return Array.Find(Sizes, size =>
            (hasWarpgroups || !size.HasWarpgroups) && (hasClusters || size.ClusterBlocks == 1) && size.ClusterBlocks == (clusterBlocks ?? size.ClusterBlocks)
                && (!size.IsDeep || tiles <= device.MultiprocessorCount) && size.Takes(s.Middle) && s.X.C <= size.Inputs && s.Y.C <= size.Outputs
                && s.Stride == size.Stride && s.BorderBias == size.HasBorder && size.SharedBytes <= device.MaxSharedBytesPerBlock);
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr X, Weights, Bias, Project;
        public ConvShape Shape;
        public ConvEpilogue Epilogue;
        public int Middle, TilesAcross;
    }
}
