using System.Numerics;
using DwrSeg.PtxEmulator.Instructions;
using DwrSeg.PtxEmulator.Memory;

namespace DwrSeg.PtxEmulator.Execution;

/// <summary>One block of a cluster, and then of the next one: its warps, shared memory and barriers, and a worker's counters.</summary>
internal sealed unsafe class BlockRunner : IDisposable
{
    /// <summary>Named barriers of a block: the first places where a warp can wait.</summary>
    public const int BarrierCount = 16;

    /// <summary>The places of the cluster's barrier and of all mbarriers; those from <see cref="FirstGroup"/> on are warpgroups.</summary>
    public const int ClusterPlace = BarrierCount;
    public const int MbarrierPlace = ClusterPlace + 1;
    public const int FirstGroup = MbarrierPlace + 1;

    private readonly Warp[] _warps;
    private readonly WarpGroup[] _groups;
    private readonly BarrierState[] _barriers;
    private readonly uint _tag;
    private int _running;

    /// <param name="code">The kernel.</param>
    /// <param name="launch">The launch.</param>
    /// <param name="cluster">The cluster.</param>
    /// <param name="rank">The block's place in it.</param>
    /// <param name="worker">A number that no other block has which runs at the same time.</param>
    public BlockRunner(KernelCode code, LaunchContext launch, ClusterRunner cluster, int rank, int worker)
    {
        Code = code;
        Context = launch;
        Cluster = cluster;
        Rank = rank;
        Worker = worker;
        _tag = launch.Tag;
        int warps = (int)((launch.Shape.Block.Count + 31) / 32), all = warps * cluster.Size;
        FirstWarp = rank * warps;
        BlockVisits = new long[code.BlockStarts.Length];
        BlockLanes = new long[code.BlockStarts.Length];
        GuardedVisits = new long[code.Count];
        GuardedLanes = new long[code.Count];
        Counters = new Counters[code.Count];
        Shared = new SharedUnit(this, launch.SharedBytes, code.SharedGranule, warps, launch.Options.Strict);
        Global = new GlobalUnit(this, launch.Memory, warps, launch.Options.Strict);
        _warps = [.. Enumerable.Range(0, warps).Select(w => new Warp(this, code, w, all))];
        int groups = code.ProductRegisterCount > 0 ? (int)launch.Shape.Block.Count / (32 * WarpGroup.Size) : 0;
        _groups = [.. Enumerable.Range(0, groups).Select(g => new WarpGroup(this, g * WarpGroup.Size, code.ProductRegisterCount))];
        for (int w = 0; w < groups * WarpGroup.Size; w++) _warps[w].Group = _groups[w / WarpGroup.Size];
        _barriers = [.. Enumerable.Range(0, BarrierCount).Select(_ => new BarrierState(all))];
        MaxSteps = launch.Options.MaxSteps;
    }

    public KernelCode Code { get; }

    public LaunchContext Context { get; }

    public LaunchShape Shape => Context.Shape;

    public long Launch => Context.Launch;

    public ClusterRunner Cluster { get; }

    /// <summary>The place in the cluster.</summary>
    public int Rank { get; }

    /// <summary>The number in the cluster of its first warp.</summary>
    public int FirstWarp { get; }

    public int Worker { get; }

    public SharedUnit Shared { get; }

    public GlobalUnit Global { get; }

    /// <summary>The present block.</summary>
    public Index3 Position { get; private set; }

    /// <summary>What stands in <see cref="Allocation.Owners"/> for words that this block writes.</summary>
    public uint Owner { get; private set; }

    /// <summary>For each basic block how often a warp ran it, and with how many lanes in all.</summary>
    public long[] BlockVisits { get; }

    public long[] BlockLanes { get; }

    /// <summary>The same for each operation that has a guard.</summary>
    public long[] GuardedVisits { get; }

    public long[] GuardedLanes { get; }

    public Counters[] Counters { get; }

    public long Barriers { get; private set; }

    public long Steps { get; set; }

    public long MaxSteps { get; }

    /// <summary>The last block left <c>cp.async</c> copies that it never waited for.</summary>
    public bool LeftCopies => Array.Exists(_warps, w => w.Copies.Count > 0);

    public int Warps => _warps.Length;

    /// <summary>All its warps have exited.</summary>
    public bool HasEnded => _running == 0;

    public Warp WarpAt(int number) => _warps[number];

    /// <summary>Makes it the block of that number in the grid, at the present time.</summary>
    public void Begin(ulong index)
    {
        Position = Shape.Grid.At(index);
        Owner = BlockOwners.Owner(_tag, Math.Min(index, BlockOwners.MaxBlocks - 1));
        Shared.BeginBlock();
        Global.BeginBlock();
        Steps = 0;
        ulong threads = Shape.Block.Count;
        for (int w = 0; w < _warps.Length; w++)
        {
            ulong left = threads - (ulong)w * 32;
            _warps[w].Begin(left >= 32 ? uint.MaxValue : (1u << (int)left) - 1, Cluster.Time);
        }
        _running = _warps.Length;
        foreach (BarrierState barrier in _barriers) barrier.Reset();
        foreach (WarpGroup group in _groups) group.Begin();
    }

    /// <summary>Gives every clock an entry for one more mbarrier of the cluster.</summary>
    public void AddClock()
    {
        foreach (BarrierState barrier in _barriers) barrier.AddEntry();
        Shared.AddClock();
    }

    /// <summary>One of its warps has exited.</summary>
    public void EndWarp()
    {
        if (--_running > 0) return;
        foreach (WarpGroup group in _groups) group.End();
        Shared.EndBlock();
    }

    /// <summary>A warp comes to a barrier.</summary>
    /// <param name="warp">Who.</param>
    /// <param name="op">With which instruction.</param>
    /// <param name="id">Which of the 16.</param>
    /// <param name="threads">How many threads it takes; 0 for the whole block.</param>
    /// <param name="waits">It waits there for the others.</param>
    /// <param name="predicate">Lanes whose predicate is true, for <c>bar.red</c>.</param>
    public void Arrive(Warp warp, Op* op, uint id, uint threads, bool waits, uint predicate)
    {
        if (id >= BarrierCount)
            throw warp.Failure(op, FailureKind.InvalidOperation, warp.Mask, $"barrier {id} of {BarrierCount}");
        if (threads % 32 != 0 || threads > (uint)Warps * 32)
            throw warp.Failure(op, FailureKind.InvalidOperation, warp.Mask,
                $"a barrier for {threads} threads in a block of {Shape.Block.Count}; it has to be a multiple of 32");
        uint expected = threads == 0 ? warp.Lanes : warp.Lanes & ~warp.Exited;
        if (warp.Mask != expected) throw BarrierOps.Divergent(warp, op, expected, $"barrier {id}");
        BarrierState barrier = _barriers[id];
        int needed = threads == 0 ? Warps : (int)threads / 32;
        if (barrier.Needed == 0)
        {
            barrier.Needed = needed;
            barrier.WholeBlock = threads == 0;
        }
        if (barrier.Needed != needed)
            throw warp.Failure(op, FailureKind.InvalidOperation, warp.Mask,
                $"barrier {id} is awaited by {barrier.Needed * 32} threads and by {needed * 32}");
        uint time = Cluster.Tick();
        warp.Clock[warp.Index] = time;
        warp.Meet();
        barrier.Join(warp);
        barrier.Arrived++;
        Cluster.Progress++;
        barrier.True += BitOperations.PopCount(predicate);
        barrier.Threads += BitOperations.PopCount(warp.Mask);
        if (waits)
        {
            barrier.Waiting.Add(warp);
            warp.WaitsAt = (int)id;
            warp.WaitOp = op;
        }
        else
        {
            barrier.HasPassers = true;
        }
        if (barrier.Arrived == barrier.Needed) Release(barrier, time);
    }

    /// <summary>Why nothing in the cluster can run on; a warp of this block waits elsewhere than at the cluster's barrier.</summary>
    public EmulatorException Stuck()
    {
        if (Array.Find(_warps, w => w.WaitsFor is not null) is { } suspended)
        {
            string others = string.Join(", ", Cluster.Warps.Where(w => !w.Finished && w != suspended)
                .Select(w => $"warp {w.Number}{(w.Block == this ? "" : $" of block {w.Block.Position}")} at {Place(w)}"));
            return suspended.Failure(suspended.WaitOp, FailureKind.Deadlock, suspended.Lanes,
                $"{Shared.Describe(suspended.WaitsFor!)}, and no warp can run on{(others.Length > 0 ? $" ({others})" : "")}");
        }
        if (Array.Find(_warps, w => !w.Finished && w.WaitsAt >= FirstGroup) is { } apart)
        {
            int group = apart.WaitsAt - FirstGroup;
            Warp missing = _warps.First(w => w.Number / WarpGroup.Size == group && w.WaitsAt != apart.WaitsAt);
            string where = missing.Finished ? "has exited" : $"waits at {Place(missing)}";
            return apart.Failure(apart.WaitOp, FailureKind.WarpgroupDivergence, apart.Lanes,
                $"{_groups[group].Arrived} of the four warps of warpgroup {group} execute it; warp {missing.Number} {where}");
        }
        Warp waiting = _warps.First(w => !w.Finished && w.WaitsAt != ClusterPlace);
        BarrierState barrier = _barriers[waiting.WaitsAt];
        string came = $"barrier {waiting.WaitsAt} waits for {barrier.Needed} warps, {barrier.Arrived} came";
        Warp? gone = _warps.FirstOrDefault(w => w.Finished);
        if (barrier.WholeBlock && gone is not null)
            return waiting.Failure(waiting.WaitOp, FailureKind.DivergentBarrier, waiting.Lanes,
                $"{came}; warp {gone.Number} has exited without reaching it");
        string elsewhere = string.Join(", ",
            _warps.Where(w => !w.Finished && w.WaitsAt != waiting.WaitsAt).Select(w => $"warp {w.Number} at {Place(w)}"));
        return waiting.Failure(waiting.WaitOp, FailureKind.Deadlock, waiting.Lanes,
            $"{came}, and no warp can run on{(elsewhere.Length > 0 ? $" ({elsewhere})" : "")}");
    }

    public void Dispose()
    {
        foreach (Warp warp in _warps) warp.Dispose();
        Shared.Dispose();
    }

    private void Release(BarrierState barrier, uint time)
    {
        Barriers++;
        foreach (Warp warp in barrier.Waiting)
        {
            barrier.JoinInto(warp);
            warp.WaitsAt = -1;
            BarrierOps.Finish(warp, barrier);
        }
        if (barrier.Needed == Warps && !barrier.HasPassers) Shared.OrderAll(time, barrier);
        barrier.Reset();
    }

    private static string Place(Warp warp) => warp.WaitsAt switch
    {
        ClusterPlace => "the cluster's barrier",
        MbarrierPlace => $"the mbarrier at 0x{warp.WaitsFor!.Offset:x}",
        >= FirstGroup => $"a wgmma of warpgroup {warp.WaitsAt - FirstGroup}",
        _ => $"barrier {warp.WaitsAt}",
    };
}
