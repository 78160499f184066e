namespace DwrSeg.PtxEmulator.Execution;

/// <summary>One of a block's 16 named barriers, or a phase of a cluster's.</summary>
/// <param name="clocks">Entries of a clock.</param>
internal sealed class BarrierState(int clocks) : JoinedClocks(clocks)
{
    /// <summary>Warps that it takes; 0 while none has come.</summary>
    public int Needed;

    public int Arrived;

    /// <summary>Without a count: every thread of the block has to come.</summary>
    public bool WholeBlock;

    /// <summary>Some of those that came do not wait.</summary>
    public bool HasPassers;

    public readonly List<Warp> Waiting = [];

    /// <summary>Of <c>bar.red</c>: threads with a true predicate, and threads at all.</summary>
    public int True;
    public int Threads;

    public void Reset()
    {
        Needed = Arrived = True = Threads = 0;
        WholeBlock = HasPassers = false;
        Waiting.Clear();
        Clear();
    }
}
