namespace DwrSeg.PtxEmulator.Execution;

/// <summary>An mbarrier in a block's shared memory: how far its phase is, and what those that arrived knew.</summary>
/// <param name="offset">Where it lies.</param>
/// <param name="entry">Its entry in clocks.</param>
/// <param name="clocks">Entries of a clock.</param>
internal sealed class Mbarrier(uint offset, int entry, int clocks)
{
    public const int Bytes = 8;

    /// <summary>The most arrivals, and the most bytes under way.</summary>
    public const uint Most = (1 << 20) - 1;

    // What arrivals released, to waits of the block's scope and of the cluster's: so far, and up to the last complete phase.
    private readonly JoinedClocks _arriving = new(clocks);
    private readonly JoinedClocks _arrivingAll = new(clocks);
    private readonly JoinedClocks _complete = new(clocks);
    private readonly JoinedClocks _completeAll = new(clocks);

    public uint Offset { get; } = offset;

    public int Entry { get; } = entry;

    public bool IsLive { get; set; }

    /// <summary>Arrivals that a phase takes, and those that the present one still waits for.</summary>
    public uint Count { get; private set; }

    public uint Pending { get; set; }

    /// <summary>Bytes that the present phase waits for; negative where more came than were announced so far.</summary>
    public long PendingBytes { get; set; }

    /// <summary>The number of the present phase.</summary>
    public uint Phase { get; private set; }

    /// <summary>Who initialised it, and when.</summary>
    public int InitWarp { get; private set; }

    public int InitLane { get; private set; }

    public uint InitTime { get; private set; }

    /// <summary>When a bulk copy last landed.</summary>
    public uint Landed { get; set; }

    /// <summary>The phase of a parity is complete where the present one has the other parity.</summary>
    public bool IsComplete(uint parity) => (Phase & 1) != parity;

    public void Begin(uint count, Warp warp, int lane, uint time)
    {
        (Count, Pending, PendingBytes, Phase) = (count, count, 0, 0);
        (InitWarp, InitLane, InitTime, IsLive) = (warp.Index, lane, time, true);
        foreach (JoinedClocks clocks in (ReadOnlySpan<JoinedClocks>)[_arriving, _arrivingAll, _complete, _completeAll]) clocks.Clear();
    }

    public void AddEntry()
    {
        foreach (JoinedClocks clocks in (ReadOnlySpan<JoinedClocks>)[_arriving, _arrivingAll, _complete, _completeAll]) clocks.AddEntry();
    }

    /// <summary>Adds what a warp of this or another block of the cluster knows when it arrives.</summary>
    /// <param name="warp">Who.</param>
    /// <param name="time">The present time.</param>
    /// <param name="needsCluster">Only waits whose scope is the cluster see it.</param>
    public void Release(Warp warp, uint time, bool needsCluster)
    {
        Release(_arrivingAll);
        if (!needsCluster) Release(_arriving);

        void Release(JoinedClocks arriving)
        {
            warp.Tell(arriving, warp.Mask);
            if (warp.Mask == (warp.Lanes & ~warp.Exited)) arriving.Clock[warp.Index] = time;
            // Of a part of the lanes it says nothing about what the others did since they last met.
            else arriving.AddLanes(warp.Index, warp.Mask, time);
        }
    }

    /// <summary>Ends the phase if nothing is missing.</summary>
    public bool CompleteIfDone(ClusterRunner cluster)
    {
        if (Pending != 0 || PendingBytes != 0) return false;
        Phase++;
        Pending = Count;
        uint time = cluster.Tick();
        Complete(_complete, _arriving);
        Complete(_completeAll, _arrivingAll);
        cluster.Wake(this);
        return true;

        void Complete(JoinedClocks complete, JoinedClocks arriving)
        {
            complete.Join(arriving);
            complete.Clock[Entry] = time;
        }
    }

    /// <summary>Some lanes learn that the last phase is complete, and what is released to them.</summary>
    /// <param name="warp">Their warp.</param>
    /// <param name="lanes">Who.</param>
    /// <param name="fromCluster">By other blocks too.</param>
    public void Acquire(Warp warp, uint lanes, bool fromCluster) => warp.Learn(fromCluster ? _completeAll : _complete, lanes);
}
