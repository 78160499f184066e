using System.Numerics;
using System.Runtime.CompilerServices;
using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary>
/// <c>cp.async</c>: the source is read when the copy is issued, the target gets its bytes when the thread that issued it waits for its group.
/// In between the target belongs to the copy.
/// </summary>
internal static unsafe class AsyncCopyOps
{
    public static void Register(Dictionary<string, Action<InstructionReader>> table) => table["cp"] = Decode;

    private static void Decode(InstructionReader r)
    {
        if (!r.Flag("async")) throw r.Error("this copy is not known to the emulator");
        if (r.Flag("bulk"))
        {
            BulkCopyOps.Decode(r);
            return;
        }
        if (r.Left.Any(m => m is "mbarrier" or "reduce")) throw r.Error("only cp.async and bulk copies from global memory are emulated");
        r.Requires(80);
        if (r.Flag("commit_group"))
        {
            r.Emit(&Commit, InstructionClass.CpAsync);
            return;
        }
        if (r.Flag("wait_all"))
        {
            r.Emit(&Wait, InstructionClass.CpAsync, small: -1);
            return;
        }
        if (r.Flag("wait_group"))
        {
            r.Emit(&Wait, InstructionClass.CpAsync, small: (int)r.Constant(0));
            return;
        }
        bool global = r.OneOf("cg", "ca") == "cg";
        bool shared = r.OneOf("shared", "shared::cta") is not null, from = r.Flag("global");
        if (!shared || !from) throw r.Error("cp.async goes from global to shared memory");
        r.OneOf("L2::64B", "L2::128B", "L2::256B");
        bool hint = r.Flag("L2::cache_hint");
        int bytes = (int)r.Constant(2);
        if (bytes is not (4 or 8 or 16) || (global && bytes != 16)) throw r.Error("cp.async copies 4, 8 or 16 bytes; .cg only 16");
        bool wideTarget = MemoryOps.Address(r, 0, out int target);
        long targetAdded = r.Operation.Immediate;
        bool wideSource = MemoryOps.Address(r, 1, out int source);
        int size = -1, ignore = -1, negated = 0;
        if (r.Operands > (hint ? 4 : 3))
        {
            PtxOperand third = r.Operand(3);
            if (third is { Kind: OperandKind.Register, Register.Type: PtxType.Pred })
            {
                ignore = r.Predicate(third, out bool not);
                negated = not ? 1 : 0;
            }
            else
            {
                size = r.Source(3, 32);
            }
        }
        if (hint) r.Source(r.Operands - 1, 64);
        if (targetAdded is > int.MaxValue or < int.MinValue) throw r.Error("an offset that large is not possible");
        r.Operation.E = ignore;
        r.Operation.Access = new MemoryAccess { Space = StateSpace.Shared, ElementBytes = bytes, WideAddress = wideSource,
            TargetAdded = targetAdded };
        r.Emit(&Copy, InstructionClass.CpAsync, a: target, b: source, c: size, small: (wideTarget ? 1 : 0) | negated << 1);
    }

    private static void Commit(Warp warp, Op* op) => warp.Copies.Commit(warp.Mask);

    private static void Wait(Warp warp, Op* op) => warp.Copies.Wait(warp, warp.Mask, op->Small);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Copy(Warp warp, Op* op)
    {
        MemoryAccess access = warp.Code.Accesses[op->Index]!;
        int bytes = access.ElementBytes;
        uint* offsets = stackalloc uint[32];
        ulong* addresses = stackalloc ulong[32];
        byte** pointers = stackalloc byte*[32];
        int* sizes = stackalloc int[32];
        MemoryOps.Offsets(warp, op->A, (op->Small & 1) != 0, access.TargetAdded, offsets);
        MemoryOps.Addresses(warp, op->B, access.WideAddress, op->Immediate, addresses);
        uint whole = 0;
        uint ignored = op->E >= 0 ? *(uint*)(warp.Frame + op->E) ^ ((op->Small & 2) != 0 ? uint.MaxValue : 0) : 0;
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            uint size = (ignored >> lane & 1) != 0 ? 0 : op->C >= 0 ? ((uint*)(warp.Frame + op->C))[lane] : (uint)bytes;
            if (size > (uint)bytes)
                throw warp.Failure(op, FailureKind.InvalidOperation, 1u << lane, $"a source of {size} bytes for a copy of {bytes}");
            sizes[lane] = (int)size;
            if (size == (uint)bytes) whole |= 1u << lane;
            else if (size > 0) warp.Block.Global.Read(warp, op, (int)size, bytes, addresses, 1u << lane, pointers);
        }
        if (whole != 0) warp.Block.Global.Read(warp, op, bytes, bytes, addresses, whole, pointers);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            warp.Block.Shared.Issue(warp, op, lane, offsets[lane], bytes, sizes[lane] > 0 ? pointers[lane] : null, sizes[lane]);
        }
        warp.Block.Shared.Count(op, offsets, warp.Mask, bytes);
    }
}
