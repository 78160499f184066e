namespace DwrSeg.PtxEmulator;

/// <summary>What is counted, of one PTX line or of a whole launch.</summary>
internal struct Counters
{
    /// <summary>Instructions executed by warps.</summary>
    public long WarpInstructions;

    /// <summary>Instructions executed by threads.</summary>
    public long ThreadInstructions;

    /// <summary>Floating-point operations of threads: an addition is one, a fused multiply-add two, <c>mma</c> 2·m·n·k a warp.</summary>
    public long Flops;

    /// <summary>Bytes that threads asked of global memory to read, each lane's counted.</summary>
    public long GlobalLoadBytes;

    /// <summary>Bytes that threads wrote to global memory.</summary>
    public long GlobalStoreBytes;

    /// <summary>Warp instructions that read global memory (atomics count as reads and writes).</summary>
    public long GlobalLoadRequests;

    public long GlobalStoreRequests;

    /// <summary>32-byte sectors that reads touch, summed over requests.</summary>
    public long GlobalLoadSectors;

    public long GlobalStoreSectors;

    /// <summary>Warp instructions on shared memory.</summary>
    public long SharedAccesses;

    /// <summary>Passes that shared memory needs for them.</summary>
    public long SharedWavefronts;

    /// <summary>Passes that would not be there without bank conflicts.</summary>
    public long SharedConflicts;

    /// <summary>Bytes that threads read from other blocks' shared memory or wrote there, each lane's counted.</summary>
    public long ClusterBytes;

    /// <summary>Bytes that bulk copies brought to blocks beside the one that issued them.</summary>
    public long MulticastBytes;

    public void Add(in Counters other)
    {
        WarpInstructions += other.WarpInstructions;
        ThreadInstructions += other.ThreadInstructions;
        Flops += other.Flops;
        GlobalLoadBytes += other.GlobalLoadBytes;
        GlobalStoreBytes += other.GlobalStoreBytes;
        GlobalLoadRequests += other.GlobalLoadRequests;
        GlobalStoreRequests += other.GlobalStoreRequests;
        GlobalLoadSectors += other.GlobalLoadSectors;
        GlobalStoreSectors += other.GlobalStoreSectors;
        SharedAccesses += other.SharedAccesses;
        SharedWavefronts += other.SharedWavefronts;
        SharedConflicts += other.SharedConflicts;
        ClusterBytes += other.ClusterBytes;
        MulticastBytes += other.MulticastBytes;
    }
}
