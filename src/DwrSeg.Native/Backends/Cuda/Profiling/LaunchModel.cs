namespace DwrSeg.Native.Backends.Cuda.Profiling;

/// <summary>What a launch did, as the emulator counts it.</summary>
/// <param name="LoadSectors">32-byte sectors read, each once a launch: what an ideal L2 asks of memory.</param>
/// <param name="StoreSectors">Sectors written, each once a launch.</param>
/// <param name="BlockLoadSectors">Sectors read, each once a block: what the L2 must serve.</param>
/// <param name="BlockStoreSectors">Sectors written, each once a block.</param>
/// <param name="StoredBytes">Bytes that threads wrote to global memory.</param>
/// <param name="RequestStoreSectors">Sectors that the warps' stores touch, summed over stores.</param>
/// <param name="SharedAccesses">Warp instructions on shared memory.</param>
/// <param name="SharedPasses">Passes that shared memory needs for them.</param>
/// <param name="SharedConflicts">Passes that bank conflicts add.</param>
/// <param name="WarpInstructions">Instructions of warps, as PTX has them.</param>
/// <param name="MmaFlops">Operations of tensor cores, those on padding included.</param>
/// <param name="OtherFlops">All other floating-point operations.</param>
internal sealed record LaunchCounts(
    long LoadSectors, long StoreSectors, long BlockLoadSectors, long BlockStoreSectors, long StoredBytes, long RequestStoreSectors, long SharedAccesses,
    long SharedPasses, long SharedConflicts, long WarpInstructions, long MmaFlops, long OtherFlops)
{
    public const int SectorBytes = 32;

    /// <summary>Bytes that blocks read of others' shared memory.</summary>
    public long ClusterBytes { get; init; }

    /// <summary>Bytes that the L2 gave once for several blocks, beyond the first of each.</summary>
    public long MulticastBytes { get; init; }

    public long Sectors => LoadSectors + StoreSectors;

    public long BlockSectors => BlockLoadSectors + BlockStoreSectors;

    /// <summary>How much of the sectors that are stored to is filled; 1 where nothing is stored.</summary>
    public double StoresFilled => RequestStoreSectors == 0 ? 1 : (double)StoredBytes / (RequestStoreSectors * SectorBytes);

    /// <summary>The part of shared memory's passes that conflicts add.</summary>
    public double ConflictShare => SharedPasses == 0 ? 0 : (double)SharedConflicts / SharedPasses;

    /// <summary>Sectors against the fewest that hold the bytes which a launch must move.</summary>
    public double SectorsPerCompulsory(long compulsoryBytes) => (double)Sectors * SectorBytes / compulsoryBytes;
}

/// <summary>Seconds that a launch takes by the model; see <see cref="LaunchModel"/>.</summary>
/// <param name="Memory">Its compulsory bytes at the memory's bandwidth.</param>
/// <param name="Arithmetic">Its flops at the peak of the busiest multiprocessor.</param>
/// <param name="Floor">The larger of these.</param>
/// <param name="L2">What the L2 needs to serve its blocks; null without counts.</param>
/// <param name="Execution">Its executed operations and instructions, in the warps that it has; null without counts.</param>
/// <param name="Expected">The largest of all, what clusters exchange, and the launch itself; null without counts.</param>
internal readonly record struct LaunchTime(double Memory, double Arithmetic, double Floor, double? L2, double? Execution, double? Expected)
{
    /// <summary>The largest term: <c>memory</c>, <c>arithmetic</c>, <c>L2</c> or <c>execution</c>.</summary>
    public string Bound
    {
        get
        {
            if (L2 is { } l2 && l2 > Floor && !(Execution > l2)) return "L2";
            if (Execution > Floor) return "execution";
            return Memory >= Arithmetic ? "memory" : "arithmetic";
        }
    }
}

/// <summary>
/// How long a launch takes on a card, from numbers alone. The floor is what its bytes and flops cost if nothing stands in the way, with whole
/// blocks on whole multiprocessors; the expected time adds what the L2 must serve, what was executed beyond the necessary, how few warps hide
/// latency badly, what clusters exchange, and the launch.
/// </summary>
/// <remarks>
/// Left out: what a cache keeps from one launch to the next (small maps never reach memory, so a launch can beat its memory term), the
/// latency of dependent steps inside a block, waves that end unevenly, clocks under load, and instructions that the assembler adds or drops.
/// </remarks>
internal static class LaunchModel
{
    // Schedulers of a multiprocessor, each issuing one instruction of a warp in a cycle.
    private const int IssuesPerCycle = 4;

    /// <summary>The floor of what may be a library's call, whose blocks are its own affair.</summary>
    public static LaunchTime Of(GpuLimits gpu, CudaWork work) =>
        Of(gpu, work.Bytes, work.Flops, work.UsesTensorCores, gpu.Multiprocessors, threads: 1, residentBlocks: 1, counts: null);

    /// <param name="gpu">The card.</param>
    /// <param name="launch">The launch: its grid, block, compulsory bytes and flops.</param>
    /// <param name="residentBlocks">Blocks that a multiprocessor holds at a time.</param>
    /// <param name="counts">What it did; null where that is not known.</param>
    public static LaunchTime Of(GpuLimits gpu, CudaLaunch launch, int residentBlocks, LaunchCounts? counts) => Of(
        gpu, launch.Bytes, launch.Flops, launch.Variant.UsesTensorCores, (long)launch.Grid.X * launch.Grid.Y * launch.Grid.Z,
        (int)(launch.Block.X * launch.Block.Y * launch.Block.Z), residentBlocks, counts,
        launch.Variant.IsSpecific);

    /// <param name="gpu">The card.</param>
    /// <param name="bytes">Compulsory bytes.</param>
    /// <param name="flops">Flops.</param>
    /// <param name="usesTensorCores">The flops are those of tensor cores.</param>
    /// <param name="blocks">Blocks of the grid.</param>
    /// <param name="threads">Threads of a block.</param>
    /// <param name="residentBlocks">Blocks that a multiprocessor holds at a time.</param>
    /// <param name="counts">What it did; null where that is not known.</param>
    /// <param name="usesWarpgroups">The tensor cores' products are <c>wgmma</c>.</param>
    public static LaunchTime Of(
        GpuLimits gpu, long bytes, long flops, bool usesTensorCores, long blocks, int threads, int residentBlocks, LaunchCounts? counts,
        bool usesWarpgroups = false)
    {
        double busiest = Math.Ceiling((double)blocks / gpu.Multiprocessors);
        // The busiest multiprocessor decides, and it has whole blocks.
        double unevenness = busiest * gpu.Multiprocessors / blocks;
        double memory = bytes / gpu.MemoryRate, arithmetic = flops == 0 ? 0 : unevenness * flops / gpu.FlopRate(usesTensorCores, usesWarpgroups);
        double floor = Math.Max(memory, arithmetic);
        if (counts is null) return new LaunchTime(memory, arithmetic, floor, null, null, null);

        double l2Bytes = (double)counts.BlockSectors * LaunchCounts.SectorBytes;
        double port = gpu.Multiprocessors * ConvTile.L2BytesPerCycle * gpu.CyclesPerSecond;
        double l2 = Math.Max(l2Bytes / gpu.L2Rate, unevenness * (l2Bytes + counts.MulticastBytes) / port);

        double share = ConvTile.ShareOfPeak(Math.Min(busiest, residentBlocks) * ((threads + 31) / 32));
        double mma = counts.MmaFlops == 0 ? 0 : counts.MmaFlops / gpu.FlopRate(tensorCores: true, usesWarpgroups);
        double other = counts.OtherFlops / gpu.FlopRate(tensorCores: false);
        double issue = counts.WarpInstructions / (IssuesPerCycle * gpu.Multiprocessors * gpu.CyclesPerSecond);
        double execution = unevenness * Math.Max(Math.Max(mma, other), issue) / share;
        double exchange = unevenness * counts.ClusterBytes / (gpu.Multiprocessors * ConvTile.ClusterBytesPerCycle * gpu.CyclesPerSecond)
            + (counts.ClusterBytes > 0 ? ConvTile.ClusterCycles / gpu.CyclesPerSecond : 0);
        return new LaunchTime(memory, arithmetic, floor, l2, execution, Math.Max(Math.Max(floor, l2), execution) + exchange + gpu.LaunchSeconds);
    }
}
