namespace DwrSeg.PtxEmulator.Execution;

/// <summary>What several warps know of each other's accesses: the join of their clocks.</summary>
/// <param name="clocks">Entries of a clock: the cluster's warps, then its mbarriers.</param>
internal class JoinedClocks(int clocks)
{
    private uint[] _clock = new uint[clocks];
    private uint[] _asyncClock = new uint[clocks];
    private ulong[] _laneClock = [];

    /// <summary>The join of the clocks of those that came.</summary>
    public uint[] Clock => _clock;

    /// <summary>The same of what <c>wgmma</c> and bulk copies can see.</summary>
    public uint[] AsyncClock => _asyncClock;

    /// <summary>The same of what is known of single lanes (<see cref="Warp.LaneClock"/>).</summary>
    public ulong[] LaneClock => _laneClock;

    /// <summary>Adds what a warp that comes knows.</summary>
    public void Join(Warp warp)
    {
        Join(warp.Clock, warp.AsyncClock);
        JoinLanes(warp.LaneClock);
    }

    public void Join(JoinedClocks other)
    {
        Join(other._clock, other._asyncClock);
        JoinLanes(other._laneClock);
    }

    /// <summary>Adds that some lanes' accesses up to a time are known.</summary>
    public void AddLanes(int warp, uint lanes, uint time)
    {
        if (_laneClock.Length < _clock.Length) Array.Resize(ref _laneClock, _clock.Length);
        _laneClock[warp] = Warp.JoinLanes(_laneClock[warp], (ulong)time << 32 | lanes);
    }

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
        for (int w = 0; w < _laneClock.Length; w++) warp.LaneClock[w] = Warp.JoinLanes(warp.LaneClock[w], _laneClock[w]);
    }

    /// <summary>The async proxy sees all that is known.</summary>
    public void ShowAll()
    {
        for (int w = 0; w < _clock.Length; w++) _asyncClock[w] = Math.Max(_asyncClock[w], _clock[w]);
    }

    /// <summary>Makes room for one more entry.</summary>
    public void AddEntry()
    {
        Array.Resize(ref _clock, _clock.Length + 1);
        Array.Resize(ref _asyncClock, _clock.Length);
    }

    public void Clear()
    {
        Array.Clear(_clock);
        Array.Clear(_asyncClock);
        Array.Clear(_laneClock);
    }

    private void JoinLanes(ulong[] laneClock)
    {
        if (_laneClock.Length < laneClock.Length) Array.Resize(ref _laneClock, laneClock.Length);
        for (int w = 0; w < laneClock.Length; w++) _laneClock[w] = Warp.JoinLanes(_laneClock[w], laneClock[w]);
    }
}
