using System.Numerics;
using DwrSeg.PtxEmulator.Instructions;
using DwrSeg.PtxEmulator.Memory;

namespace DwrSeg.PtxEmulator.Execution;

/// <summary>Runs blocks of a launch one after the other: their warps, shared memory and barriers, and a worker's counters.</summary>
internal sealed unsafe class BlockRunner : IDisposable
{
    /// <summary>Named barriers of a block; waiting places from here on are warpgroups.</summary>
    public const int BarrierCount = 16;

    private readonly Warp[] _warps;
    private readonly WarpGroup[] _groups;
    private readonly int[] _order;
    private readonly BarrierState[] _barriers;
    private readonly uint _tag;
    private readonly ulong _seed;

    public BlockRunner(KernelCode code, LaunchContext launch, int worker)
    {
        Code = code;
        Context = launch;
        Worker = worker;
        _tag = launch.Tag;
        _seed = (ulong)(uint)launch.Options.Seed;
        int warps = (int)((launch.Shape.Block.Count + 31) / 32);
        BlockVisits = new long[code.BlockStarts.Length];
        BlockLanes = new long[code.BlockStarts.Length];
        GuardedVisits = new long[code.Count];
        GuardedLanes = new long[code.Count];
        Counters = new Counters[code.Count];
        Shared = new SharedUnit(this, launch.SharedBytes, code.SharedGranule, warps, launch.Options.Strict);
        Global = new GlobalUnit(this, launch.Memory, warps, launch.Options.Strict);
        _warps = [.. Enumerable.Range(0, warps).Select(w => new Warp(this, code, w, warps))];
        int groups = code.ProductRegisterCount > 0 ? (int)launch.Shape.Block.Count / (32 * WarpGroup.Size) : 0;
        _groups = [.. Enumerable.Range(0, groups).Select(g => new WarpGroup(this, g * WarpGroup.Size, code.ProductRegisterCount))];
        for (int w = 0; w < groups * WarpGroup.Size; w++) _warps[w].Group = _groups[w / WarpGroup.Size];
        _order = [.. Enumerable.Range(0, warps)];
        _barriers = [.. Enumerable.Range(0, BarrierCount).Select(_ => new BarrierState(warps))];
        MaxSteps = launch.Options.MaxSteps;
    }

    public KernelCode Code { get; }

    public LaunchContext Context { get; }

    public LaunchShape Shape => Context.Shape;

    public long Launch => Context.Launch;

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

    public Warp WarpAt(int number) => _warps[number];

    /// <summary>Runs one block to its end.</summary>
    public void Run(ulong index)
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
            _warps[w].Begin(left >= 32 ? uint.MaxValue : (1u << (int)left) - 1, Shared.Time - 1);
        }
        foreach (BarrierState barrier in _barriers) barrier.Reset();
        foreach (WarpGroup group in _groups) group.Begin();
        var random = new Shuffle(_seed * 0x9e3779b97f4a7c15 + index);
        for (int i = _order.Length - 1; i > 0; i--)
        {
            int j = (int)random.Below((ulong)i + 1);
            (_order[i], _order[j]) = (_order[j], _order[i]);
        }
        while (true)
        {
            bool ran = false, left = false;
            foreach (int w in _order)
            {
                Warp warp = _warps[w];
                if (warp.Finished) continue;
                left = true;
                if (warp.WaitsAt >= 0) continue;
                ran = true;
                warp.Run();
            }
            if (!left) break;
            if (!ran) throw Stuck();
        }
        foreach (WarpGroup group in _groups) group.End();
        Array.Sort(_order);
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
        if (warp.Mask != expected)
        {
            uint missing = expected & ~warp.Mask, exited = missing & warp.Exited;
            string why = exited != 0 ? $"lanes 0x{exited:x8} have exited before it" : $"lanes 0x{missing:x8} are on another path";
            throw warp.Failure(op, FailureKind.DivergentBarrier, missing,
                $"barrier {id} is reached by lanes 0x{warp.Mask:x8} of warp {warp.Number} only; {why}");
        }
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
        uint time = Shared.Tick();
        warp.Clock[warp.Number] = time;
        for (int w = 0; w < Warps; w++)
        {
            barrier.Clock[w] = Math.Max(barrier.Clock[w], warp.Clock[w]);
            barrier.AsyncClock[w] = Math.Max(barrier.AsyncClock[w], warp.AsyncClock[w]);
        }
        barrier.Arrived++;
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
            for (int w = 0; w < Warps; w++)
            {
                warp.Clock[w] = Math.Max(warp.Clock[w], barrier.Clock[w]);
                warp.AsyncClock[w] = Math.Max(warp.AsyncClock[w], barrier.AsyncClock[w]);
            }
            warp.WaitsAt = -1;
            BarrierOps.Finish(warp, barrier);
        }
        if (barrier.Needed == Warps && !barrier.HasPassers) Shared.OrderAll(time, barrier.AsyncClock.Min());
        barrier.Reset();
    }

    private EmulatorException Stuck()
    {
        if (Array.Find(_warps, w => !w.Finished && w.WaitsAt >= BarrierCount) is { } apart)
        {
            int group = apart.WaitsAt - BarrierCount;
            Warp missing = _warps.First(w => w.Number / WarpGroup.Size == group && w.WaitsAt != apart.WaitsAt);
            string where = missing.Finished ? "has exited" : $"waits at barrier {missing.WaitsAt}";
            return apart.Failure(apart.WaitOp, FailureKind.WarpgroupDivergence, apart.Lanes,
                $"{_groups[group].Arrived} of the four warps of warpgroup {group} execute it; warp {missing.Number} {where}");
        }
        Warp waiting = _warps.First(w => !w.Finished);
        BarrierState barrier = _barriers[waiting.WaitsAt];
        string came = $"barrier {waiting.WaitsAt} waits for {barrier.Needed} warps, {barrier.Arrived} came";
        Warp? gone = _warps.FirstOrDefault(w => w.Finished);
        if (barrier.WholeBlock && gone is not null)
            return waiting.Failure(waiting.WaitOp, FailureKind.DivergentBarrier, waiting.Lanes,
                $"{came}; warp {gone.Number} has exited without reaching it");
        string others = string.Join(", ",
            _warps.Where(w => !w.Finished && w.WaitsAt != waiting.WaitsAt).Select(w => $"warp {w.Number} at barrier {w.WaitsAt}"));
        return waiting.Failure(waiting.WaitOp, FailureKind.Deadlock, waiting.Lanes,
            $"{came}, and no warp can run on{(others.Length > 0 ? $" ({others})" : "")}");
    }
}
