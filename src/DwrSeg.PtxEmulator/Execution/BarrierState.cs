namespace DwrSeg.PtxEmulator.Execution;

/// <summary>One of a block's 16 named barriers.</summary>
internal sealed class BarrierState(int warps)
{
    /// <summary>Warps that it takes; 0 while none has come.</summary>
    public int Needed;

    public int Arrived;

    /// <summary>Without a count: every thread of the block has to come.</summary>
    public bool WholeBlock;

    /// <summary>Some of those that came do not wait.</summary>
    public bool HasPassers;

    public readonly List<Warp> Waiting = [];

    /// <summary>The join of the clocks of those that came.</summary>
    public readonly uint[] Clock = new uint[warps];

    /// <summary>The same of what <c>wgmma</c> can see.</summary>
    public readonly uint[] AsyncClock = new uint[warps];

    /// <summary>Of <c>bar.red</c>: threads with a true predicate, and threads at all.</summary>
    public int True;
    public int Threads;

    public void Reset()
    {
        Needed = Arrived = True = Threads = 0;
        WholeBlock = HasPassers = false;
        Waiting.Clear();
        Array.Clear(Clock);
        Array.Clear(AsyncClock);
    }
}
