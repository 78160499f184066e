using System.Numerics;
using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary><c>mbarrier</c>: barriers in shared memory that count threads and the bytes of bulk copies.</summary>
/// <remarks>
/// A wait for a phase that is not complete gives false, as hardware's may: at once where copies under way completed it now, otherwise after the warp
/// has waited for it. So code that does not try again goes on without its data.
/// </remarks>
internal static unsafe class MbarrierOps
{
    private const int WideAddress = 1, InCluster = 2, AcquiresCluster = 4, ExpectsBytes = 8;

    public static void Register(Dictionary<string, Action<InstructionReader>> table) => table["mbarrier"] = Decode;

    /// <summary><c>fence.mbarrier_init</c>.</summary>
    public static void FenceInit(Warp warp, Op* op) => warp.Block.Shared.FenceMbarriers(warp);

    private static void Decode(InstructionReader r)
    {
        r.Requires(90);
        string what = r.OneOf("init", "inval", "arrive", "expect_tx", "try_wait", "test_wait")
            ?? throw r.Error("this form of mbarrier is not emulated");
        bool waits = what is "try_wait" or "test_wait", expects = what == "arrive" && r.Flag("expect_tx");
        if (waits && !r.Flag("parity")) throw r.Error("only waits for a parity are emulated");
        if (what == "arrive") r.Flag("release");
        if (what == "expect_tx") r.Flag("relaxed");
        if (waits) r.Flag("acquire");
        bool clusterScope = what is not ("init" or "inval") && r.OneOf("cta", "cluster") == "cluster";
        string space = r.OneOf("shared", "shared::cta", "shared::cluster") ?? throw r.Error("mbarriers are reached by shared addresses only");
        if (!r.Flag("b64")) throw r.Error("mbarriers have the type b64");
        bool inCluster = space == "shared::cluster";
        if (inCluster && what is not ("arrive" or "expect_tx")) throw r.Error("this is not possible on another block's mbarrier");

        int address = what is "arrive" || waits ? 1 : 0;
        int small = (MemoryOps.Address(r, address, out int a) ? WideAddress : 0) | (inCluster ? InCluster : 0) | (clusterScope ? AcquiresCluster : 0)
            | (expects ? ExpectsBytes : 0);
        switch (what)
        {
            case "init":
                r.Emit(&Init, InstructionClass.Barrier, a: a, b: r.Source(1, 32), small: small);
                return;
            case "inval":
                r.Emit(&Invalidate, InstructionClass.Barrier, a: a, small: small);
                return;
            case "expect_tx":
                r.Emit(&Expect, InstructionClass.Barrier, a: a, b: r.Source(1, 32), small: small);
                return;
            case "arrive":
                if (inCluster && r.Operand(0).Kind != OperandKind.Sink) throw r.Error("an arrival at another block's mbarrier gives no state");
                int count = expects || r.Operands > 2 ? r.Source(2, 32) : r.Read(r.Translator.Constant(1, false));
                r.Emit(&Arrive, InstructionClass.Barrier, r.Destination(0, 64), a, count, small: small);
                return;
            default:
                if (r.Operands > 3) r.Source(3, 32);
                r.Operation.Kind = OpKind.Wait;
                r.Emit(&Wait, InstructionClass.Barrier, r.Destination(0, 1), a, r.Source(2, 32), small: small);
                return;
        }
    }

    private static void Init(Warp warp, Op* op)
    {
        uint* offsets = stackalloc uint[32];
        MemoryOps.Offsets(warp, op->A, (op->Small & WideAddress) != 0, op->Immediate, offsets);
        var counts = (uint*)(warp.Frame + op->B);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            warp.Block.Shared.InitMbarrier(warp, op, lane, offsets[lane], counts[lane]);
        }
    }

    private static void Invalidate(Warp warp, Op* op)
    {
        uint* offsets = stackalloc uint[32];
        MemoryOps.Offsets(warp, op->A, (op->Small & WideAddress) != 0, op->Immediate, offsets);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            warp.Block.Shared.InvalidateMbarrier(warp, op, lane, offsets[lane]);
        }
    }

    private static void Expect(Warp warp, Op* op)
    {
        uint* offsets = stackalloc uint[32];
        MemoryOps.Offsets(warp, op->A, (op->Small & WideAddress) != 0, op->Immediate, offsets);
        var bytes = (uint*)(warp.Frame + op->B);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            Memory(warp, op, lane, ref offsets[lane]).ExpectBytes(warp, op, lane, offsets[lane], bytes[lane]);
        }
    }

    private static void Arrive(Warp warp, Op* op)
    {
        uint* offsets = stackalloc uint[32];
        MemoryOps.Offsets(warp, op->A, (op->Small & WideAddress) != 0, op->Immediate, offsets);
        var counts = (uint*)(warp.Frame + op->B);
        bool expects = (op->Small & ExpectsBytes) != 0;
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            SharedUnit shared = Memory(warp, op, lane, ref offsets[lane]);
            uint phase = shared.ArriveAtMbarrier(
                warp, op, lane, offsets[lane], expects ? 1 : counts[lane], expects ? counts[lane] : 0, (op->Small & AcquiresCluster) != 0);
            if (op->D >= 0) ((ulong*)(warp.Frame + op->D))[lane] = phase;
        }
    }

    private static void Wait(Warp warp, Op* op)
    {
        uint* offsets = stackalloc uint[32];
        MemoryOps.Offsets(warp, op->A, (op->Small & WideAddress) != 0, op->Immediate, offsets);
        var parities = (uint*)(warp.Frame + op->B);
        uint complete = 0;
        List<Mbarrier>? missing = null;
        SharedUnit shared = warp.Block.Shared;
        for (uint left = warp.Mask; left != 0;)
        {
            int first = BitOperations.TrailingZeroCount(left);
            uint same = 0;
            for (int lane = first; lane < 32; lane++)
                if (offsets[lane] == offsets[first] && parities[lane] == parities[first]) same |= left & (1u << lane);
            left &= ~same;
            if (shared.TestMbarrier(warp, op, same, offsets[first], parities[first], (op->Small & AcquiresCluster) != 0, out Mbarrier barrier))
                complete |= same;
            else
                (missing ??= []).Add(barrier);
        }
        if (op->D >= 0) MoveOps.SetPredicate(warp, op->D, complete);
        if (missing is null) return;
        foreach (Mbarrier barrier in missing)
        {
            uint phase = barrier.Phase;
            shared.Land(barrier);
            if (barrier.Phase != phase) complete = uint.MaxValue;
        }
        if (complete != 0) return;
        warp.WaitsFor = missing[0];
        warp.WaitsAt = BlockRunner.MbarrierPlace;
        warp.WaitOp = op;
    }

    /// <summary>The memory of the block that an address is in; it becomes the offset there.</summary>
    private static SharedUnit Memory(Warp warp, Op* op, int lane, ref uint address) =>
        (op->Small & InCluster) == 0 ? warp.Block.Shared : ClusterOps.Owner(warp, op, lane, address, out address).Shared;
}
