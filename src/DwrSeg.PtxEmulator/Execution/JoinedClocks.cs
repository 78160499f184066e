namespace DwrSeg.PtxEmulator.Execution;

/// <summary>What several warps know of each other's accesses: the join of their clocks.</summary>
/// <param name="clocks">Entries of a clock: the cluster's warps, then its mbarriers.</param>
internal class JoinedClocks(int clocks)
{
    private uint[] _clock = new uint[clocks];
    private uint[] _asyncClock = new uint[clocks];

    /// <summary>The join of the clocks of those that came.</summary>
    public uint[] Clock => _clock;

    /// <summary>The same of what <c>wgmma</c> and bulk copies can see.</summary>
    public uint[] AsyncClock => _asyncClock;

    /// <summary>Adds the clocks of one that comes.</summary>
    public void Join(uint[] clock, uint[] asyncClock)
    {
        for (int w = 0; w < _clock.Length; w++)
        {
            _clock[w] = Math.Max(_clock[w], clock[w]);
            _asyncClock[w] = Math.Max(_asyncClock[w], asyncClock[w]);
        }
    }

    /// <summary>Orders what is known here before what a warp does from here on.</summary>
    public void JoinInto(Warp warp)
    {
        for (int w = 0; w < _clock.Length; w++)
        {
            warp.Clock[w] = Math.Max(warp.Clock[w], _clock[w]);
            warp.AsyncClock[w] = Math.Max(warp.AsyncClock[w], _asyncClock[w]);
        }
    }

    /// <summary>Makes room for one more entry.</summary>
    public void AddEntry()
    {
        Array.Resize(ref _clock, _clock.Length + 1);
        Array.Resize(ref _asyncClock, _asyncClock.Length + 1);
    }

    public void Clear()
    {
        Array.Clear(_clock);
        Array.Clear(_asyncClock);
    }
}
