using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>How a convolution kernel divides its work, and what that costs.</summary>
/// <param name="Pixels">Output pixels of a block.</param>
/// <param name="Channels">Output channels of a block.</param>
/// <param name="Depth">Input channels of one tap that a step takes.</param>
/// <param name="Threads">Threads of a block.</param>
/// <param name="SharedBytes">Its shared memory.</param>
/// <param name="Registers">Registers of a thread, as the assembler reports them for the greediest variant.</param>
internal readonly record struct ConvTile(int Pixels, int Channels, int Depth, int Threads, int SharedBytes, int Registers)
{
    /// <summary>
    /// Cycles before the first product and after the last one: launch, addresses, the pipeline's first copies, the epilogue's latency.
    /// </summary>
    public const double OverheadCycles = 2500;

    /// <summary>
    /// Multiply-adds a cycle and multiprocessor of <c>wgmma</c>: an assumption, 85 % of an H100's 2048, until a device has shown it.
    /// </summary>
    public const double WarpgroupRate = 1750;

    /// <summary>What an L2 delivers to one multiprocessor in a cycle, in bytes, when all ask.</summary>
    public const double L2BytesPerCycle = 48;

    /// <summary>
    /// What a multiprocessor reads of others' shared memory in a cycle, in bytes: the 3.3 TB/s that microbenchmarks of an H100 found for all together.
    /// </summary>
    public const double ClusterBytesPerCycle = 14;

    /// <summary>The meetings of a cluster's blocks and the latency of what they read of each other.</summary>
    public const double ClusterCycles = 800;

    /// <summary>Its products are <c>wgmma</c>, whose rate is its own.</summary>
    public bool HasWarpgroups { get; init; }

    /// <summary>It is of so many rows and columns of pixels of one image; (0, 0) where it is a run of pixels.</summary>
    public (int Rows, int Columns) Area { get; init; }

    /// <summary>A step takes its inputs' taps all together, not one of them.</summary>
    public bool TakesAllTaps { get; init; }

    /// <summary>Multiply-adds, or instructions that take as long, that a step costs a pixel, an input and an output.</summary>
    public double StepCost { get; init; } = 1;

    /// <summary>Weights that a step copies for an input and an output.</summary>
    public int StepWeights { get; init; } = 1;

    /// <summary>Pixels of x that a step copies; those of the tile, or fewer where several steps read what one copied.</summary>
    public double CopiedPixels { get; init; } = Pixels;

    /// <summary>Bytes of a tile's fp32 sums.</summary>
    public int SumBytes => Pixels * Channels * 4;

    /// <summary>What so many resident warps reach of a multiprocessor's arithmetic, since few cannot hide the latency of their own products.</summary>
    public static double ShareOfPeak(double warps) => Math.Min(1, 0.35 + 0.055 * warps);

    /// <summary>Memory for so many shared sums; none where they meet in clusters.</summary>
    public (long PartialBytes, int Tiles) WorkspaceOf(CudaDevice device, in CudaConvolution c, int splits)
    {
        long tiles = TilesOf(c);
        return SharingOf(device, splits) == SumSharing.Memory ? (tiles * splits * SumBytes, (int)tiles) : default;
    }

    public long TilesOf(in CudaConvolution c) => Grid.Blocks(c.Y.C, Channels)
        * (Area.Rows == 0 ? Grid.Blocks(c.Y.Pixels, Pixels) : c.Y.N * Grid.Blocks(c.Y.H, Area.Rows) * Grid.Blocks(c.Y.W, Area.Columns));

    public int StepsOf(in CudaConvolution c) => (TakesAllTaps ? 1 : c.Taps) * (int)Grid.Blocks(c.X.C, Depth);

    /// <summary>
    /// Cycles of a launch: the busiest multiprocessor's blocks, each as slow as the slower of arithmetic and L2, and the traffic of shared
    /// sums, through the L2 or between the multiprocessors of a cluster. Arithmetic counts in full only from twelve warps on (<see cref="ShareOfPeak"/>), or, where products run beside the warps, from
    /// two warpgroups on.
    /// </summary>
    /// <param name="c">The convolution.</param>
    /// <param name="splits">Blocks that share a tile's sum.</param>
    /// <param name="device">The device.</param>
    /// <param name="rate">Multiply-adds a cycle and multiprocessor, of tiles without warpgroups.</param>
    public double Cycles(in CudaConvolution c, int splits, CudaDevice device, double rate)
    {
        int resident = Math.Min(
            device[CUdeviceAttribute.MaxSharedMemoryPerMultiprocessor] / (SharedBytes + ReservedBytes(device)),
            device[CUdeviceAttribute.MaxRegistersPerMultiprocessor] / (Registers * Threads));
        if (resident == 0) return double.PositiveInfinity;
        int multiprocessors = device.MultiprocessorCount;
        double blocks = (double)TilesOf(c) * splits, most = Math.Ceiling(blocks / multiprocessors);
        double warps = Math.Min(most, resident) * Threads / 32, share = HasWarpgroups ? Math.Min(1, 0.5 + 0.0625 * warps) : ShareOfPeak(warps);
        if (HasWarpgroups) rate = WarpgroupRate;
        double steps = Math.Ceiling((double)StepsOf(c) / splits);
        double arithmetic = StepCost * Pixels * Channels * Depth / (rate * share);
        double copies = (CopiedPixels + StepWeights * Channels) * Depth * c.X.Element.Bytes() / L2BytesPerCycle;
        double ends = (double)Pixels * Channels * c.Y.Element.Bytes() * (c.Residual is null ? 1 : 2) / L2BytesPerCycle;
        if (splits > 1)
        {
            ends = Clusters.AreOn(device) ? ends / splits + SumBytes * (splits - 1.0) / splits / ClusterBytesPerCycle + ClusterCycles
                : ends + SumBytes * (1.0 + splits) / L2BytesPerCycle;
        }
        return OverheadCycles * Math.Ceiling(most / resident) + most * (steps * Math.Max(arithmetic, copies) + ends);
    }

    /// <summary>Shared memory that each resident block takes besides its own.</summary>
    public static int ReservedBytes(CudaDevice device) => device.ComputeCapability >= new ComputeCapability(8, 0) ? 1024 : 0;

    /// <summary>How blocks of a device share sums.</summary>
    public static SumSharing SharingOf(CudaDevice device, int splits) =>
        splits == 1 ? SumSharing.None : Clusters.AreOn(device) ? SumSharing.Cluster : SumSharing.Memory;

    /// <summary>The cheapest of these tiles and numbers of splits, which a workspace must have room for where blocks make no clusters.</summary>
    public static (ConvTile Tile, int Splits) Choose(
        in CudaConvolution c, IReadOnlyList<ConvTile> tiles, CudaDevice device, double rate, in SplitWorkspace workspace)
    {
        const int MostSplits = 16, LeastSteps = 2;
        bool hasClusters = Clusters.AreOn(device);
        (ConvTile Tile, int Splits) best = (tiles[^1], 1);
        double least = double.PositiveInfinity;
        foreach (ConvTile tile in tiles)
        {
            if (tile.SharedBytes > device.MaxSharedBytesPerBlock) continue;
            int most = Math.Clamp(tile.StepsOf(c) / LeastSteps, 1, hasClusters ? Clusters.MostBlocks : MostSplits);
            for (int splits = 1; splits <= most; splits++)
            {
                // A cluster stays within a part of the device of 16 or 18 multiprocessors: other sizes leave some of them without a block.
                if (hasClusters && !int.IsPow2(splits)) continue;
                if (splits > 1 && !hasClusters && !workspace.Holds(tile.TilesOf(c), splits, tile.SumBytes)) break;
                double cycles = tile.Cycles(c, splits, device, rate);
                if (cycles < least) (best, least) = ((tile, splits), cycles);
            }
        }
        return best;
    }
}
