namespace DwrSeg.PtxEmulator.Execution;

/// <summary>One of a block's 16 named barriers, or a phase of a cluster's.</summary>
/// <param name="warps">Warps of the cluster.</param>
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

    /// <summary>Adds the clocks of one that comes.</summary>
    public void Join(uint[] clock, uint[] asyncClock)
    {
        for (int w = 0; w < Clock.Length; w++)
        {
            Clock[w] = Math.Max(Clock[w], clock[w]);
            AsyncClock[w] = Math.Max(AsyncClock[w], asyncClock[w]);
        }
    }

    /// <summary>Orders what is known here before what a warp does from here on.</summary>
    public void JoinInto(Warp warp)
    {
        for (int w = 0; w < Clock.Length; w++)
        {
            warp.Clock[w] = Math.Max(warp.Clock[w], Clock[w]);
            warp.AsyncClock[w] = Math.Max(warp.AsyncClock[w], AsyncClock[w]);
        }
    }

    public void Reset()
    {
        Needed = Arrived = True = Threads = 0;
        WholeBlock = HasPassers = false;
        Waiting.Clear();
        Array.Clear(Clock);
        Array.Clear(AsyncClock);
    }
}
