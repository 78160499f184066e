using DwrSeg.PtxEmulator.Instructions;

namespace DwrSeg.PtxEmulator.Execution;

/// <summary>
/// Runs clusters of a launch one after the other: the blocks of one in turns, each warp up to where it waits. A launch without clusters has
/// clusters of one block.
/// </summary>
/// <remarks>
/// Warps are numbered through the cluster, block after block, and share one count of time (<see cref="SharedUnit"/>), so that the clocks that
/// order accesses within a block order those of one block to another's shared memory as well.
/// </remarks>
internal sealed unsafe class ClusterRunner : IDisposable
{
    private const uint LastTime = (1u << 26) - 1_000_000;

    private readonly BlockRunner[] _blocks;
    private readonly Warp[] _warps;
    private readonly int[] _order;
    private readonly ulong _seed;

    // The cluster's barrier: the join of the clocks of those that have come, and the same of the phase before, which some may have to wait for.
    private BarrierState _arriving;
    private BarrierState _opened;
    private int _running;

    // What the count of progress was when warps that wait for mbarriers were last let go on without.
    private long _progressWhenStuck;

    public ClusterRunner(KernelCode code, LaunchContext launch, int worker)
    {
        _seed = (ulong)(uint)launch.Options.Seed;
        int size = (int)launch.Shape.ClusterX, warps = (int)((launch.Shape.Block.Count + 31) / 32);
        (_arriving, _opened) = (new BarrierState(size * warps), new BarrierState(size * warps));
        _blocks = new BlockRunner[size];
        for (int rank = 0; rank < size; rank++) _blocks[rank] = new BlockRunner(code, launch, this, rank, worker * size + rank);
        _warps = [.. _blocks.SelectMany(b => Enumerable.Range(0, warps).Select(b.WarpAt))];
        _order = [.. Enumerable.Range(0, _warps.Length)];
        Clocks = _warps.Length;
    }

    public IReadOnlyList<BlockRunner> Blocks => _blocks;

    public int Size => _blocks.Length;

    /// <summary>The present time.</summary>
    public uint Time { get; private set; } = 1;

    /// <summary>Counts what may let waiting warps run on: who comes to a barrier or exits, and what changes an mbarrier.</summary>
    public long Progress { get; set; }

    /// <summary>Warps and mbarriers that clocks have entries for.</summary>
    public int Clocks { get; private set; }

    public IReadOnlyList<Warp> Warps => _warps;

    /// <summary>The warp of a number in the cluster.</summary>
    public Warp WarpAt(int index) => _warps[index];

    /// <summary>Moves time on.</summary>
    /// <returns>The time that has ended.</returns>
    public uint Tick()
    {
        if (Time >= (1u << 26) - 2)
            throw new EmulatorException(FailureKind.LaunchLimit, "a block synchronises more often than the race detector can count");
        return Time++;
    }

    /// <summary>Gives every clock an entry for one more mbarrier.</summary>
    /// <returns>Its number.</returns>
    public int AddClock()
    {
        foreach (Warp warp in _warps) warp.AddClock();
        foreach (BlockRunner block in _blocks) block.AddClock();
        _arriving.AddEntry();
        _opened.AddEntry();
        return Clocks++;
    }

    /// <summary>A phase of an mbarrier is complete: who waits for it runs on.</summary>
    public void Wake(Mbarrier barrier)
    {
        foreach (Warp warp in _warps) if (warp.WaitsFor == barrier) GoOn(warp);
    }

    /// <summary>Runs one cluster to its end.</summary>
    public void Run(ulong index)
    {
        if (Time > LastTime)
        {
            foreach (BlockRunner block in _blocks) block.Shared.ForgetTimes();
            Time = 1;
        }
        for (int rank = 0; rank < _blocks.Length; rank++) _blocks[rank].Begin(index * (ulong)_blocks.Length + (ulong)rank);
        Time++;
        _running = _warps.Length;
        _arriving.Reset();
        _progressWhenStuck = -1;
        var random = new Shuffle(_seed * 0x9e3779b97f4a7c15 + index);
        for (int i = _order.Length - 1; i > 0; i--)
        {
            int j = (int)random.Below((ulong)i + 1);
            (_order[i], _order[j]) = (_order[j], _order[i]);
        }
        while (_running > 0)
        {
            bool ran = false;
            foreach (int w in _order)
            {
                Warp warp = _warps[w];
                if (warp.Finished || warp.WaitsAt >= 0) continue;
                ran = true;
                warp.Run();
                if (warp.Finished) End(warp);
            }
            if (!ran) GoOnWithout();
        }
        Array.Sort(_order);
    }

    /// <summary>Nothing can run: a wait for an mbarrier may end without its phase, but not again before something has changed.</summary>
    private void GoOnWithout()
    {
        Warp? waiting = Array.Find(_warps, w => w.WaitsFor is not null);
        if (waiting is null || _progressWhenStuck == Progress)
            throw (waiting ?? Array.Find(_warps, w => !w.Finished && w.WaitsAt != BlockRunner.ClusterPlace)!).Block.Stuck();
        _progressWhenStuck = Progress;
        foreach (Warp warp in _warps) if (warp.WaitsFor is not null) GoOn(warp);
    }

    private static void GoOn(Warp warp)
    {
        warp.WaitsFor = null;
        warp.WaitsAt = -1;
    }

    /// <summary>A warp comes to the cluster's barrier, without waiting there.</summary>
    /// <param name="warp">Who.</param>
    /// <param name="op">With which instruction.</param>
    /// <param name="releases">What it did before is ordered before what those do that wait; otherwise only what a fence followed is.</param>
    public void Arrive(Warp warp, Op* op, bool releases)
    {
        if (warp.AtCluster != ClusterPhase.Before)
            throw warp.Failure(op, FailureKind.InvalidOperation, warp.Mask,
                "the warp arrives at the cluster's barrier for a second time, with no barrier.cluster.wait between");
        warp.AtCluster = ClusterPhase.Arrived;
        _arriving.Arrived++;
        Progress++;
        if (releases)
        {
            warp.Meet();
            _arriving.Join(warp);
            _arriving.Clock[warp.Index] = Tick();
        }
        else
        {
            _arriving.Join(warp.Fenced, warp.AsyncFenced);
        }
        OpenIfComplete();
    }

    /// <summary>A warp waits until all threads of the cluster that have not exited have arrived.</summary>
    public void Wait(Warp warp, Op* op)
    {
        if (warp.AtCluster == ClusterPhase.Before)
            throw warp.Failure(op, FailureKind.InvalidOperation, warp.Mask,
                "the warp waits at the cluster's barrier with no barrier.cluster.arrive before");
        if (warp.AtCluster == ClusterPhase.Opened)
        {
            Pass(warp);
            return;
        }
        warp.WaitsAt = BlockRunner.ClusterPlace;
        warp.WaitOp = op;
    }

    /// <summary>A fence of the cluster's scope or a wider one: what a warp did before is ordered by its later relaxed arrivals as well.</summary>
    public void Fence(Warp warp)
    {
        uint ended = Tick();
        warp.Meet();
        warp.Clock.CopyTo(warp.Fenced, 0);
        warp.AsyncClock.CopyTo(warp.AsyncFenced, 0);
        warp.Fenced[warp.Index] = ended;
    }

    public void Dispose()
    {
        foreach (BlockRunner block in _blocks) block.Dispose();
    }

    private void End(Warp warp)
    {
        _running--;
        Progress++;
        warp.Meet();
        warp.Block.EndWarp();
        if (warp.AtCluster == ClusterPhase.Arrived) _arriving.Arrived--;
        OpenIfComplete();
    }

    private void OpenIfComplete()
    {
        // Threads that have exited count as arrived.
        if (_arriving.Arrived == 0 || _arriving.Arrived < _running) return;
        (_arriving, _opened) = (_opened, _arriving);
        _arriving.Reset();
        foreach (Warp warp in _warps)
        {
            if (warp.Finished) continue;
            warp.AtCluster = ClusterPhase.Opened;
            if (warp.WaitsAt == BlockRunner.ClusterPlace) Pass(warp);
        }
    }

    private void Pass(Warp warp)
    {
        _opened.JoinInto(warp);
        warp.AtCluster = ClusterPhase.Before;
        warp.WaitsAt = -1;
        warp.KnowsPeers = true;
    }
}

/// <summary>How far a warp is with the present phase of the cluster's barrier.</summary>
internal enum ClusterPhase
{
    Before,
    Arrived,

    /// <summary>All have arrived; the warp has yet to wait.</summary>
    Opened,
}
