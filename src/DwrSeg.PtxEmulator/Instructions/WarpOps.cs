using System.Numerics;
using System.Runtime.CompilerServices;
using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary>Shuffles, votes and the like: exchanges between the lanes of a warp. They do not order memory; <c>bar.warp.sync</c> does.</summary>
internal static unsafe class WarpOps
{
    private const InstructionClass Kind = InstructionClass.WarpWide;

    public static void Register(Dictionary<string, Action<InstructionReader>> table)
    {
        table["shfl"] = r =>
        {
            if (!r.Flag("sync")) throw r.Error("shuffles without .sync are not emulated");
            string mode = r.OneOf("up", "down", "bfly", "idx") ?? throw r.Error("a shuffle of which kind?");
            r.Type();
            PtxOperand target = r.Operand(0);
            bool pair = target.Kind == OperandKind.Pair;
            int d = r.DestinationOf(pair ? target.Elements[0] : target, 32);
            r.Operation.F = pair ? r.DestinationOf(target.Elements[1], 1) : -1;
            int a = r.Source(1, 32), b = r.Source(2, 32), c = r.Source(3, 32);
            r.Operation.E = r.Source(4, 32);
            r.Emit(&Shuffle, Kind, d, a, b, c, small: mode switch { "up" => 0, "down" => 1, "bfly" => 2, _ => 3 });
        };
        table["vote"] = r =>
        {
            if (!r.Flag("sync")) throw r.Error("votes without .sync are not emulated");
            string mode = r.OneOf("all", "any", "uni", "ballot") ?? throw r.Error("a vote of which kind?");
            r.Type();
            int d = r.Destination(0, mode == "ballot" ? 32 : 1), a = r.Predicate(r.Operand(1), out bool negated);
            r.Emit(&Vote, Kind, d, a, r.Source(2, 32), small: mode switch { "all" => 0, "any" => 1, "uni" => 2, _ => 3 }
                | (negated ? 4 : 0));
        };
        table["match"] = r =>
        {
            r.Requires(70);
            bool all = r.OneOf("any", "all") == "all";
            r.Flag("sync");
            int bits = r.Type().Bytes() * 8;
            PtxOperand target = r.Operand(0);
            bool pair = target.Kind == OperandKind.Pair;
            int d = r.DestinationOf(pair ? target.Elements[0] : target, 32);
            r.Operation.F = pair ? r.DestinationOf(target.Elements[1], 1) : -1;
            r.Emit(&Match, Kind, d, r.Source(1, bits), r.Source(2, 32), small: (all ? 1 : 0) | (bits == 64 ? 2 : 0));
        };
        table["activemask"] = r =>
        {
            r.Type();
            r.Emit(&ActiveMask, Kind, r.Destination(0, 32));
        };
        table["redux"] = r =>
        {
            r.Requires(80);
            r.Flag("sync");
            string operation = r.OneOf("add", "min", "max", "and", "or", "xor") ?? throw r.Error("a reduction of which kind?");
            PtxType type = r.Type();
            if (type.IsFloat()) throw r.Error("reductions of floating-point numbers are not emulated");
            int small = Array.IndexOf((string[])["add", "min", "max", "and", "or", "xor"], operation) | (type.IsSigned() ? 8 : 0);
            r.Emit(&Reduce, Kind, r.Destination(0, 32), r.Source(1, 32), r.Source(2, 32), small: small);
        };
        table["elect"] = r =>
        {
            r.Requires(90);
            r.Flag("sync");
            PtxOperand target = r.Operand(0);
            int d = r.DestinationOf(target.Elements[0], 32);
            r.Operation.F = r.DestinationOf(target.Elements[1], 1);
            r.Emit(&Elect, Kind, d, b: r.Source(1, 32));
        };
    }

    /// <summary>The member mask has to name the lanes that execute, and no others that could.</summary>
    public static void CheckMembers(Warp warp, Op* op, int place)
    {
        var members = (uint*)(warp.Frame + place);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            if ((members[lane] & ~warp.Exited) == warp.Mask) continue;
            throw warp.Failure(op, FailureKind.SyncMask, 1u << lane, $"the member mask is 0x{members[lane]:x8}, but lanes 0x{warp.Mask:x8} execute the instruction{(warp.Exited != 0 ? $" (0x{warp.Exited:x8} have exited)" : "")}");
        }
    }

    /// <summary>All lanes of a full warp have to execute the instruction.</summary>
    public static void CheckWhole(Warp warp, Op* op)
    {
        if (warp.Mask != uint.MaxValue)
            throw warp.Failure(op, FailureKind.SyncMask, warp.Mask,
                $"all 32 lanes have to execute the instruction, but only 0x{warp.Mask:x8} do");
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Shuffle(Warp warp, Op* op)
    {
        CheckMembers(warp, op, op->E);
        uint* a = stackalloc uint[32];
        Unsafe.CopyBlock(a, warp.Frame + op->A, 128);
        uint* b = (uint*)(warp.Frame + op->B), c = (uint*)(warp.Frame + op->C);
        uint* d = op->D >= 0 ? (uint*)(warp.Frame + op->D) : null;
        uint inside = 0;
        uint* source = stackalloc uint[32];
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            int segment = (int)(c[lane] >> 8 & 31), clamp = (int)(c[lane] & 31), by = (int)(b[lane] & 31);
            int last = (lane & segment) | (clamp & ~segment), first = lane & segment;
            int from = op->Small switch { 0 => lane - by, 1 => lane + by, 2 => lane ^ by, _ => first | (by & ~segment) };
            bool valid = op->Small == 0 ? from >= last : from <= last;
            if (!valid) from = lane;
            else inside |= 1u << lane;
            if ((warp.Mask >> from & 1) == 0)
                throw warp.Failure(op, FailureKind.SyncMask, 1u << lane,
                    $"lane {lane} asks for the value of lane {from}, which does not take part");
            source[lane] = a[from];
        }
        if (d != null)
            for (uint left = warp.Mask; left != 0; left &= left - 1)
                d[BitOperations.TrailingZeroCount(left)] = source[BitOperations.TrailingZeroCount(left)];
        if (op->F >= 0) MoveOps.SetPredicate(warp, op->F, inside);
    }

    private static void Vote(Warp warp, Op* op)
    {
        CheckMembers(warp, op, op->B);
        uint yes = (*(uint*)(warp.Frame + op->A) ^ ((op->Small & 4) != 0 ? uint.MaxValue : 0)) & warp.Mask;
        switch (op->Small & 3)
        {
            case 0:
                MoveOps.SetPredicate(warp, op->D, yes == warp.Mask ? uint.MaxValue : 0);
                break;
            case 1:
                MoveOps.SetPredicate(warp, op->D, yes != 0 ? uint.MaxValue : 0);
                break;
            case 2:
                MoveOps.SetPredicate(warp, op->D, yes == 0 || yes == warp.Mask ? uint.MaxValue : 0);
                break;
            default:
                Fill(warp, op->D, yes);
                break;
        }
    }

    private static void Match(Warp warp, Op* op)
    {
        CheckMembers(warp, op, op->B);
        byte* a = warp.Frame + op->A;
        ulong Value(int lane) => (op->Small & 2) != 0 ? ((ulong*)a)[lane] : ((uint*)a)[lane];
        uint* equal = stackalloc uint[32];
        uint all = 0;
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            equal[lane] = 0;
            for (uint others = warp.Mask; others != 0; others &= others - 1)
            {
                int other = BitOperations.TrailingZeroCount(others);
                if (Value(other) == Value(lane)) equal[lane] |= 1u << other;
            }
            if (equal[lane] == warp.Mask) all |= 1u << lane;
        }
        if (op->F >= 0) MoveOps.SetPredicate(warp, op->F, all);
        if (op->D < 0) return;
        var d = (uint*)(warp.Frame + op->D);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            d[lane] = (op->Small & 1) == 0 ? equal[lane] : all != 0 ? warp.Mask : 0;
        }
    }

    private static void ActiveMask(Warp warp, Op* op) => Fill(warp, op->D, warp.Mask);

    private static void Reduce(Warp warp, Op* op)
    {
        CheckMembers(warp, op, op->B);
        var a = (uint*)(warp.Frame + op->A);
        bool first = true, signed = (op->Small & 8) != 0;
        uint result = 0;
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            uint value = a[BitOperations.TrailingZeroCount(left)];
            result = first ? value : (op->Small & 7) switch
            {
                0 => result + value,
                1 => signed ? (uint)Math.Min((int)result, (int)value) : Math.Min(result, value),
                2 => signed ? (uint)Math.Max((int)result, (int)value) : Math.Max(result, value),
                3 => result & value,
                4 => result | value,
                _ => result ^ value,
            };
            first = false;
        }
        Fill(warp, op->D, result);
    }

    private static void Elect(Warp warp, Op* op)
    {
        CheckMembers(warp, op, op->B);
        int leader = BitOperations.TrailingZeroCount(warp.Mask);
        if (op->D >= 0) Fill(warp, op->D, (uint)leader);
        if (op->F >= 0) MoveOps.SetPredicate(warp, op->F, 1u << leader);
    }

    private static void Fill(Warp warp, int place, uint value)
    {
        var d = (uint*)(warp.Frame + place);
        for (uint left = warp.Mask; left != 0; left &= left - 1) d[BitOperations.TrailingZeroCount(left)] = value;
    }
}
