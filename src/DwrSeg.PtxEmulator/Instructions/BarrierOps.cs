using System.Numerics;
using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary>Barriers of blocks and of warps.</summary>
internal static unsafe class BarrierOps
{
    private const int Arrives = 1;
    private const int Popc = 2;
    private const int And = 4;
    private const int Or = 8;
    private const int Negated = 16;

    public static void Register(Dictionary<string, Action<InstructionReader>> table)
    {
        table["bar"] = Decode;
        table["barrier"] = Decode;
    }

    /// <summary>Gives a warp that waited the result of <c>bar.red</c>.</summary>
    public static void Finish(Warp warp, BarrierState barrier)
    {
        Op* op = warp.WaitOp;
        if ((op->Small & Popc) != 0)
        {
            var d = (uint*)(warp.Frame + op->D);
            for (uint left = warp.Mask; left != 0; left &= left - 1) d[BitOperations.TrailingZeroCount(left)] = (uint)barrier.True;
        }
        if ((op->Small & And) != 0) MoveOps.SetPredicate(warp, op->D, barrier.True == barrier.Threads ? uint.MaxValue : 0);
        if ((op->Small & Or) != 0) MoveOps.SetPredicate(warp, op->D, barrier.True > 0 ? uint.MaxValue : 0);
    }

    /// <summary>A barrier that not all the lanes come to that have to.</summary>
    public static EmulatorException Divergent(Warp warp, Op* op, uint expected, string barrier)
    {
        uint missing = expected & ~warp.Mask, exited = missing & warp.Exited;
        string why = exited != 0 ? $"lanes 0x{exited:x8} have exited before it" : $"lanes 0x{missing:x8} are on another path";
        return warp.Failure(op, FailureKind.DivergentBarrier, missing,
            $"{barrier} is reached by lanes 0x{warp.Mask:x8} of warp {warp.Number} only; {why}");
    }

    private static void Decode(InstructionReader r)
    {
        if (r.Flag("warp"))
        {
            if (!r.Flag("sync")) throw r.Error("this barrier is not known to the emulator");
            r.Emit(&WarpSync, InstructionClass.Barrier, a: r.Source(0, 32));
            return;
        }
        if (r.Flag("cluster"))
        {
            ClusterOps.DecodeBarrier(r);
            return;
        }
        r.Flag("cta");
        string what = r.OneOf("sync", "arrive", "red") ?? throw r.Error("a barrier of which kind?");
        r.Flag("aligned");
        r.Operation.Kind = OpKind.Wait;
        if (what != "red")
        {
            int id = r.Source(0, 32), threads = r.Operands > 1 ? r.Source(1, 32) : -1;
            if (what == "arrive" && threads < 0) throw r.Error("bar.arrive needs a number of threads");
            r.Emit(&Barrier, InstructionClass.Barrier, a: id, b: threads, small: what == "arrive" ? Arrives : 0);
            return;
        }
        string operation = r.OneOf("popc", "and", "or") ?? throw r.Error("a reduction of which kind?");
        PtxType type = r.Type();
        int small = operation switch { "popc" => Popc, "and" => And, _ => Or };
        int d = r.Destination(0, type == PtxType.Pred ? 1 : 32), a = r.Source(1, 32), b = r.Operands > 3 ? r.Source(2, 32) : -1;
        int p = r.Predicate(r.Operand(r.Operands - 1), out bool negated);
        r.Emit(&Barrier, InstructionClass.Barrier, d, a, b, p, small: small | (negated ? Negated : 0));
    }

    private static void Barrier(Warp warp, Op* op)
    {
        uint id = Uniform(warp, op, op->A), threads = op->B >= 0 ? Uniform(warp, op, op->B) : 0;
        if (op->B >= 0 && threads == 0) throw warp.Failure(op, FailureKind.InvalidOperation, warp.Mask, "a barrier for no threads");
        uint predicate = op->C >= 0 ? (*(uint*)(warp.Frame + op->C) ^ ((op->Small & Negated) != 0 ? uint.MaxValue : 0)) & warp.Mask : 0;
        warp.Block.Arrive(warp, op, id, threads, (op->Small & Arrives) == 0, predicate);
    }

    private static uint Uniform(Warp warp, Op* op, int place)
    {
        var value = (uint*)(warp.Frame + place);
        int first = BitOperations.TrailingZeroCount(warp.Mask);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            if (value[lane] != value[first])
                throw warp.Failure(op, FailureKind.DivergentBarrier, 1u << lane,
                    $"lanes of a warp name different barriers or counts: {value[first]} and {value[lane]}");
        }
        return value[first];
    }

    private static void WarpSync(Warp warp, Op* op)
    {
        WarpOps.CheckMembers(warp, op, op->A);
        warp.Clock[warp.Index] = warp.Block.Cluster.Tick();
        if ((warp.Ahead & ~warp.Mask) == 0) warp.Meet();
    }
}
