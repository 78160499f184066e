using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// One launch, ready to be put on a stream any number of times: kernel, grid, block, shared memory and arguments are settled, so launching
/// allocates nothing and can be captured.
/// </summary>
internal abstract class CudaLaunch(KernelVariant variant, CudaKernel kernel, Dim3 grid, Dim3 block, int sharedBytes) : CudaWork
{
    public override string Call => Variant.Name;

    public override string Name => Variant.ToString();

    public override bool UsesTensorCores => Variant.UsesTensorCores;

    public KernelVariant Variant { get; } = variant;

    public CudaKernel Kernel { get; } = kernel;

    public Dim3 Grid { get; } = grid;

    public Dim3 Block { get; } = block;

    /// <summary>Dynamic shared memory.</summary>
    public int SharedBytes { get; } = sharedBytes;

    /// <summary>Neighbouring blocks in x that form a cluster; 1 for none.</summary>
    public int ClusterBlocks { get; init; } = 1;

    public override string ToString() =>
        $"{Variant}, grid {Grid}{(ClusterBlocks > 1 ? $" in clusters of {ClusterBlocks}" : "")}, block {Block}, {SharedBytes} bytes of dynamic shared memory";
}

/// <inheritdoc/>
internal sealed class CudaLaunch<TArguments> : CudaLaunch
    where TArguments : unmanaged
{
    private readonly TArguments _arguments;

    /// <exception cref="ArgumentException">The grid exceeds what a launch can have; the message names the extent.</exception>
    public CudaLaunch(KernelCache kernels, KernelVariant variant, Grid grid, Dim3 block, int sharedBytes, in TArguments arguments)
        : base(variant, kernels.Get(variant.Source), grid.ToDim3(variant), block, sharedBytes)
    {
        _arguments = arguments;
        CanOverlap = LaunchSequence.CanOverlap(kernels, variant);
    }

    public override bool CanOverlap { get; }

    public override void Launch(CudaStream stream, bool overlapsPrevious = false) => Kernel.Launch(
        CudaKernel.Configuration(stream, Grid, Block, SharedBytes) with { ClusterX = (uint)ClusterBlocks, OverlapsPrevious = overlapsPrevious },
        _arguments);
}

/// <summary>Blocks of a launch before they are checked against what a grid can have.</summary>
internal readonly record struct Grid(long X, long Y = 1, long Z = 1)
{
    private const int MostInX = int.MaxValue, MostInYAndZ = 65535;

    public Dim3 ToDim3(KernelVariant variant)
    {
        if (X is < 1 or > MostInX || Y is < 1 or > MostInYAndZ || Z is < 1 or > MostInYAndZ)
        {
            throw new ArgumentException(
                $"{variant}: a grid of {X}x{Y}x{Z} blocks; at most {MostInX}x{MostInYAndZ}x{MostInYAndZ} are possible: split the batch or the map.");
        }
        return new Dim3((uint)X, (uint)Y, (uint)Z);
    }

    public static long Blocks(long extent, long perBlock) => (extent + perBlock - 1) / perBlock;
}
