namespace DwrSeg.PtxEmulator;

/// <summary>Counts of one launch.</summary>
internal sealed class LaunchStatistics
{
    public required string Kernel { get; init; }

    public required LaunchShape Shape { get; init; }

    /// <summary>It might have begun before the launch before it had ended.</summary>
    public bool OverlapsPrevious { get; set; }

    /// <summary>Sums over all instructions.</summary>
    public Counters Total;

    /// <summary>Warp instructions by class.</summary>
    public long[] ByClass { get; } = new long[Enum.GetValues<InstructionClass>().Length];

    /// <summary>Counts of each instruction that was executed, in the order of the PTX text.</summary>
    public required IReadOnlyList<LineStatistics> Lines { get; init; }

    /// <summary>32-byte sectors read, each counted once a block: what the second-level cache must serve.</summary>
    public long BlockLoadSectors { get; set; }

    public long BlockStoreSectors { get; set; }

    /// <summary>32-byte sectors read, each counted once a launch: what an ideal second-level cache asks of memory.</summary>
    public long LaunchLoadSectors { get; set; }

    public long LaunchStoreSectors { get; set; }

    /// <summary>Barriers passed, counted once a block.</summary>
    public long Barriers { get; set; }

    /// <summary>Bytes that blocks read from others' shared memory or wrote there.</summary>
    public long ClusterBytes => Total.ClusterBytes;

    /// <summary>Bytes that bulk copies brought to blocks beside the one that issued them.</summary>
    public long MulticastBytes => Total.MulticastBytes;

    /// <summary>The most bytes of shared memory that a block has: static and dynamic.</summary>
    public uint SharedBytes { get; init; }

    public long this[InstructionClass kind] => ByClass[(int)kind];
}
