using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using DwrSeg.PtxEmulator.Memory;
using DwrSeg.PtxEmulator.Ptx;

namespace DwrSeg.PtxEmulator.Execution;

/// <summary>
/// 32 threads that execute together: their registers, which of them are active, and where those that parted meet again.
/// </summary>
/// <remarks>
/// A register is 32 lanes side by side in <see cref="Frame"/> (128 bytes, 256 for 64-bit types; 16-bit types take 32-bit lanes whose upper
/// half is zero); a predicate is a mask. Lanes that part at a branch run one side after the other up to the branch's immediate
/// post-dominator.
/// </remarks>
internal sealed unsafe class Warp : IDisposable
{
    public readonly BlockRunner Block;
    public readonly KernelCode Code;
    public readonly int Number;

    /// <summary>The number in the cluster, which clocks go by.</summary>
    public readonly int Index;

    /// <summary>The registers.</summary>
    public readonly byte* Frame;

    /// <summary>Local memory, lane after lane, and a byte for each of its bytes that says whether it was written.</summary>
    public readonly byte* Local;
    public readonly byte* LocalWritten;
    public readonly uint LocalBytes;

    /// <summary>Lanes that execute the present operation: active and let through by its guard.</summary>
    public uint Mask;

    /// <summary>Lanes on the present path.</summary>
    public uint Active;

    /// <summary>Lanes that have exited, or that never were.</summary>
    public uint Exited;

    /// <summary>Lanes that hold a thread.</summary>
    public uint Lanes;

    /// <summary>Lanes that have not executed <c>griddepcontrol.wait</c> in a launch that may have begun before the one before it has ended.</summary>
    public uint Early;

    public bool Finished;

    /// <summary>The barrier it waits at; −1 for none.</summary>
    public int WaitsAt = -1;

    /// <summary>The operation that made it wait.</summary>
    public Op* WaitOp;

    /// <summary>The mbarrier it waits for.</summary>
    public Mbarrier? WaitsFor;

    /// <summary>
    /// For each warp of the cluster the time up to which its accesses to shared memory are ordered before this warp's next one; behind these for each
    /// mbarrier the time up to which this warp knows of its initialisation and of the bulk copies that completed its phases.
    /// </summary>
    public uint[] Clock;

    /// <summary>The same times for what this warp's <c>wgmma</c> and bulk copies see of writes, and of initialisations.</summary>
    public uint[] AsyncClock;

    /// <summary>
    /// For each warp of the cluster some of its lanes, below the time up to which their accesses, and its finished <c>wgmma</c>, are known beyond
    /// <see cref="Clock"/>: they arrived at an mbarrier without the others. Empty where the kernel has no mbarriers.
    /// </summary>
    public ulong[] LaneClock = [];

    /// <summary>Lanes that have waited for an mbarrier without the others, and know more than these until the warp meets.</summary>
    public uint Ahead;

    /// <summary>Both clocks as they were at the last fence of the cluster's scope or a wider one.</summary>
    public uint[] Fenced;
    public uint[] AsyncFenced;

    /// <summary>How far it is with the cluster's barrier.</summary>
    public ClusterPhase AtCluster;

    /// <summary>It has passed the cluster's barrier, so all blocks of the cluster have begun.</summary>
    public bool KnowsPeers;

    /// <summary>The warpgroup; null where the block has not all four warps of it.</summary>
    public WarpGroup? Group;

    /// <summary><c>cp.async</c> copies under way.</summary>
    public readonly AsyncCopies Copies = new();

    private readonly List<Level> _stack = [];
    private JoinedClocks? _ahead;
    private int _block;
    private Op* _next;

    /// <param name="block">The block.</param>
    /// <param name="code">The kernel.</param>
    /// <param name="number">The number in the block.</param>
    /// <param name="warps">Warps of the cluster.</param>
    public Warp(BlockRunner block, KernelCode code, int number, int warps)
    {
        Block = block;
        Code = code;
        Number = number;
        Index = block.FirstWarp + number;
        (Clock, AsyncClock, Fenced, AsyncFenced) = (new uint[warps], new uint[warps], new uint[warps], new uint[warps]);
        Frame = (byte*)NativeMemory.AlignedAlloc((nuint)code.FrameBytes + 64, 64);
        NativeMemory.Clear(Frame, (nuint)code.FrameBytes);
        foreach ((int place, ulong value, bool wide) in code.Constants)
        {
            for (int lane = 0; lane < 32; lane++)
            {
                if (wide) ((ulong*)(Frame + place))[lane] = value;
                else ((uint*)(Frame + place))[lane] = (uint)value;
            }
        }
        LocalBytes = (code.Entry.LocalBytes + 15) / 16 * 16;
        if (LocalBytes == 0) return;
        Local = (byte*)NativeMemory.AlignedAlloc(LocalBytes * 32, 64);
        LocalWritten = (byte*)NativeMemory.AlignedAlloc(LocalBytes * 32, 64);
    }

    /// <summary>Makes room for the clock of one more mbarrier.</summary>
    public void AddClock()
    {
        int entries = Clock.Length + 1;
        Array.Resize(ref Clock, entries);
        Array.Resize(ref AsyncClock, entries);
        Array.Resize(ref Fenced, entries);
        Array.Resize(ref AsyncFenced, entries);
        Array.Resize(ref LaneClock, entries);
        _ahead?.AddEntry();
    }

    /// <summary>Joins two entries of <see cref="LaneClock"/>: of different lanes both times become the later one.</summary>
    public static ulong JoinLanes(ulong a, ulong b) => Math.Max(a >> 32, b >> 32) << 32 | (uint)(a | b);

    /// <summary>Whether an access to shared memory is ordered before what a lane does next.</summary>
    /// <param name="warp">Whose access, or which mbarrier's copy.</param>
    /// <param name="entry">Its time and lane, as <see cref="SharedUnit"/> has them.</param>
    /// <param name="lane">The lane; more than 31 for all of them.</param>
    public bool Knows(int warp, uint entry, int lane) => entry >> 6 <= Clock[warp] || (LaneClock.Length > 0 && KnowsByLanes(warp, entry, lane));

    /// <summary>Whether the async proxy, on a lane's behalf, sees what a warp wrote at a time.</summary>
    public bool Shows(int warp, uint time, int lane) =>
        time <= AsyncClock[warp] || (lane < 32 && (Ahead >> lane & 1) != 0 && time <= _ahead!.AsyncClock[warp]);

    /// <summary>Orders what is known there before what some of the lanes do from here on.</summary>
    public void Learn(JoinedClocks clocks, uint lanes)
    {
        if (lanes == (Lanes & ~Exited))
        {
            clocks.JoinInto(this);
            return;
        }
        if (Ahead != lanes) Meet();
        Ahead = lanes;
        _ahead ??= new JoinedClocks(Clock.Length);
        _ahead.Join(clocks);
    }

    /// <summary>Lanes that present what they know, together with what their warp knows.</summary>
    public void Tell(JoinedClocks clocks, uint lanes)
    {
        clocks.Join(this);
        if ((Ahead & lanes) != 0) clocks.Join(_ahead!);
    }

    /// <summary>A proxy fence of these lanes, for what they know alone.</summary>
    public void ShowAhead()
    {
        if (Ahead != 0 && (Ahead & ~Mask) == 0) _ahead!.ShowAll();
    }

    /// <summary>The lanes meet: what some know all do.</summary>
    public void Meet()
    {
        if (Ahead == 0) return;
        _ahead!.JoinInto(this);
        _ahead.Clear();
        Ahead = 0;
    }

    private readonly record struct Level(int Block, int Join, uint Mask);

    /// <summary>Makes it the given warp of a new block.</summary>
    public void Begin(uint lanes, uint time)
    {
        Lanes = lanes;
        Active = lanes;
        Exited = ~lanes;
        Finished = lanes == 0;
        Early = Block.Context.MayStillRun is null ? 0 : lanes;
        WaitsAt = -1;
        WaitsFor = null;
        Array.Clear(LaneClock);
        Ahead = 0;
        _ahead?.Clear();
        Array.Fill(Clock, time);
        Array.Fill(AsyncClock, time);
        Array.Fill(Fenced, time);
        Array.Fill(AsyncFenced, time);
        AtCluster = ClusterPhase.Before;
        KnowsPeers = false;
        Copies.Clear();
        // Registers that a kernel reads before it writes them shall not depend on which block ran before.
        NativeMemory.Clear(Frame + Code.ConstantBytes, (nuint)(Code.FrameBytes - Code.ConstantBytes));
        _stack.Clear();
        _stack.Add(new Level(0, -1, lanes));
        _block = 0;
        _next = Code.Operations + Code.BlockStarts[0];
        if (LocalBytes > 0) NativeMemory.Clear(LocalWritten, LocalBytes * 32);
    }

    /// <summary>Runs until it has to wait or has finished.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Run()
    {
        Op* op = _next;
        long[] visits = Block.BlockVisits, lanes = Block.BlockLanes;
        while (true)
        {
            switch (op->Kind)
            {
                case OpKind.Plain:
                {
                    if (op->Guard < 0)
                    {
                        Mask = Active;
                        op->Run(this, op);
                    }
                    else
                    {
                        uint mask = Active & (*(uint*)(Frame + op->Guard) ^ op->GuardFlip);
                        Block.GuardedVisits[op->Index] += mask != 0 ? 1 : 0;
                        Block.GuardedLanes[op->Index] += BitOperations.PopCount(mask);
                        if (mask != 0)
                        {
                            Mask = mask;
                            op->Run(this, op);
                        }
                    }
                    op++;
                    break;
                }
                case OpKind.Enter:
                {
                    int block = (int)op->Immediate;
                    if (_stack[^1].Join == block)
                    {
                        _stack.RemoveAt(_stack.Count - 1);
                        if (!Resume(out op)) return;
                        break;
                    }
                    _block = block;
                    visits[block]++;
                    lanes[block] += BitOperations.PopCount(Active);
                    if (++Block.Steps > Block.MaxSteps)
                        throw Failure(op + 1, FailureKind.Deadlock, Active,
                            $"the launch runs without end: {Block.Steps} basic blocks executed");
                    op++;
                    break;
                }
                case OpKind.Branch:
                {
                    uint taken = op->Guard < 0 ? Active : Active & (*(uint*)(Frame + op->Guard) ^ op->GuardFlip);
                    if (taken == 0) op++;
                    else if (taken == Active) op = Code.Operations + Code.BlockStarts[(int)op->Immediate];
                    else op = Part((int)op->Immediate, _block + 1, taken);
                    break;
                }
                case OpKind.IndirectBranch:
                    op = BranchIndirect(op);
                    break;
                case OpKind.Exit:
                {
                    uint leaving = op->Guard < 0 ? Active : Active & (*(uint*)(Frame + op->Guard) ^ op->GuardFlip);
                    Exited |= leaving;
                    Active &= ~leaving;
                    Op* last = op++;
                    if (Active != 0 || Resume(out op)) break;
                    if (Early == Lanes)
                        throw Failure(last, FailureKind.PreviousNotAwaited, Lanes,
                            "the warp exits without griddepcontrol.wait: the launch could end before those that it was started beside, and who "
                            + "waits for it would not have waited for them");
                    return;
                }
                case OpKind.Wait:
                {
                    uint mask = op->Guard < 0 ? Active : Active & (*(uint*)(Frame + op->Guard) ^ op->GuardFlip);
                    Op* now = op++;
                    if (mask == 0) break;
                    Mask = mask;
                    _next = op;
                    now->Run(this, now);
                    if (WaitsAt >= 0) return;
                    break;
                }
            }
        }
    }

    /// <summary>A failure at an operation, blamed on the first of the lanes.</summary>
    public EmulatorException Failure(Op* op, FailureKind kind, uint lanes, string detail, ulong? address = null, string? memory = null)
    {
        int lane = BitOperations.TrailingZeroCount(lanes == 0 ? 1u : lanes);
        PtxInstruction? instruction = Code.Instructions[op->Index];
        var site = new FailureSite(
            Code.Entry.Name, instruction?.Line ?? 0, instruction?.Text ?? "", instruction?.Source, Block.Position,
                Block.Shape.Block.At((ulong)(Number * 32 + lane)));
        return new EmulatorException(kind, detail, site) { Address = address, MemoryName = memory };
    }

    public void Dispose()
    {
        NativeMemory.AlignedFree(Frame);
        if (Local != null) NativeMemory.AlignedFree(Local);
        if (LocalWritten != null) NativeMemory.AlignedFree(LocalWritten);
        Copies.Dispose();
    }

    private bool KnowsByLanes(int warp, uint entry, int lane)
    {
        if (Covers(LaneClock[warp], entry)) return true;
        if (lane >= 32 || (Ahead >> lane & 1) == 0) return false;
        return entry >> 6 <= _ahead!.Clock[warp] || (warp < _ahead.LaneClock.Length && Covers(_ahead.LaneClock[warp], entry));
    }

    private static bool Covers(ulong known, uint entry)
    {
        uint lane = entry & 63;
        return entry >> 6 <= known >> 32 && (lane < 32 ? (known >> (int)lane & 1) != 0 : lane == SharedUnit.ProductLane);
    }

    private bool Resume(out Op* op)
    {
        while (_stack.Count > 0)
        {
            Level level = _stack[^1];
            Active = level.Mask & ~Exited;
            if (Active != 0)
            {
                op = Code.Operations + Code.BlockStarts[level.Block];
                return true;
            }
            _stack.RemoveAt(_stack.Count - 1);
        }
        Finished = true;
        op = null;
        return false;
    }

    /// <summary>Sends some of the active lanes to one block and the others to another; both wait for each other at the join.</summary>
    private Op* Part(int takenBlock, int otherBlock, uint taken)
    {
        uint active = Active;
        int join = Code.Joins[_block];
        Wait(join);
        if (otherBlock != join) _stack.Add(new Level(otherBlock, join, active & ~taken));
        if (takenBlock != join) _stack.Add(new Level(takenBlock, join, taken));
        Resume(out Op* op);
        return op;
    }

    /// <summary>Leaves the present lanes waiting at a block, unless whoever waits below waits there for them already.</summary>
    private void Wait(int join)
    {
        Level top = _stack[^1];
        _stack.RemoveAt(_stack.Count - 1);
        if (join >= 0 && top.Join != join) _stack.Add(new Level(join, top.Join, top.Mask));
    }

    private Op* BranchIndirect(Op* op)
    {
        uint mask = op->Guard < 0 ? Active : Active & (*(uint*)(Frame + op->Guard) ^ op->GuardFlip);
        int[] targets = Code.TargetLists[(int)op->Immediate];
        var index = (uint*)(Frame + op->A);
        int join = Code.Joins[_block];
        uint other = Active & ~mask;
        Wait(join);
        if (other != 0 && _block + 1 != join) _stack.Add(new Level(_block + 1, join, other));
        while (mask != 0)
        {
            int lane = BitOperations.TrailingZeroCount(mask);
            uint chosen = index[lane];
            if (chosen >= (uint)targets.Length)
                throw Failure(op, FailureKind.InvalidOperation, 1u << lane, $"indirect branch number {chosen} of {targets.Length} targets");
            uint same = 0;
            for (uint left = mask; left != 0; left &= left - 1)
            {
                int at = BitOperations.TrailingZeroCount(left);
                if (targets[index[at]  < (uint)targets.Length ? index[at] : chosen] == targets[chosen] && index[at] < (uint)targets.Length)
                    same |= 1u << at;
            }
            if (targets[chosen] != join) _stack.Add(new Level(targets[chosen], join, same));
            mask &= ~same;
        }
        Resume(out Op* next);
        return next;
    }
}
