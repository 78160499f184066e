using System.Numerics;
using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary><c>cp.async.bulk</c> from global to a block's shared memory, or to that of several blocks of the cluster.</summary>
internal static unsafe class BulkCopyOps
{
    private const int WideTarget = 1, WideBarrier = 2;

    /// <summary>What stands behind <c>cp.async.bulk</c>.</summary>
    public static void Decode(InstructionReader r)
    {
        r.Requires(90);
        if (!r.Flag("shared::cluster") | !r.Flag("global") | !r.Flag("mbarrier::complete_tx::bytes"))
            throw r.Error("bulk copies are emulated from .global to .shared::cluster with .mbarrier::complete_tx::bytes");
        bool multicast = r.Flag("multicast::cluster");
        if (r.Operands != (multicast ? 5 : 4)) throw r.Error($"{r.Operands} operands");
        bool wideTarget = MemoryOps.Address(r, 0, out int target);
        long targetAdded = r.Operation.Immediate;
        bool wideBarrier = MemoryOps.Address(r, 3, out int barrier);
        long barrierAdded = r.Operation.Immediate;
        bool wideSource = MemoryOps.Address(r, 1, out int source);
        r.Operation.E = barrier;
        r.Operation.F = multicast ? r.Source(4, 16) : -1;
        r.Operation.Access = new MemoryAccess { Space = StateSpace.Cluster, ElementBytes = 16, WideAddress = wideSource, TargetAdded = targetAdded,
            BarrierAdded = barrierAdded };
        int small = (wideTarget ? WideTarget : 0) | (wideBarrier ? WideBarrier : 0);
        r.Emit(&Copy, InstructionClass.CpAsync, a: target, b: source, c: r.Source(2, 32), small: small);
    }

    private static void Copy(Warp warp, Op* op)
    {
        MemoryAccess access = warp.Code.Accesses[op->Index]!;
        uint* targets = stackalloc uint[32];
        uint* barriers = stackalloc uint[32];
        ulong* sources = stackalloc ulong[32];
        MemoryOps.Offsets(warp, op->A, (op->Small & WideTarget) != 0, access.TargetAdded, targets);
        MemoryOps.Offsets(warp, op->E, (op->Small & WideBarrier) != 0, access.BarrierAdded, barriers);
        MemoryOps.Addresses(warp, op->B, access.WideAddress, op->Immediate, sources);
        var sizes = (uint*)(warp.Frame + op->C);
        ClusterRunner cluster = warp.Block.Cluster;
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            uint size = sizes[lane];
            if (size % 16 != 0 || size is 0 or > Mbarrier.Most)
                throw warp.Failure(op, FailureKind.InvalidOperation, 1u << lane,
                    $"a bulk copy of {size} bytes; it has to be a multiple of 16 of at most {Mbarrier.Most}");
            BlockRunner owner = ClusterOps.Owner(warp, op, lane, targets[lane], out uint target);
            BlockRunner barrierOwner = ClusterOps.Owner(warp, op, lane, barriers[lane], out uint barrier);
            if (owner != barrierOwner)
                throw warp.Failure(op, FailureKind.InvalidOperation, 1u << lane,
                    $"a bulk copy to block {owner.Position} with an mbarrier of block {barrierOwner.Position}");
            uint ranks = 1u << owner.Rank;
            if (op->F >= 0)
            {
                ranks = ((uint*)(warp.Frame + op->F))[lane] & 0xffff;
                if (ranks == 0 || ranks >> cluster.Size != 0)
                    throw warp.Failure(op, FailureKind.InvalidOperation, 1u << lane,
                        $"a bulk copy to the blocks of mask 0x{ranks:x} in a cluster of {cluster.Size}");
            }
            byte[] data = new ReadOnlySpan<byte>(warp.Block.Global.ReadBulk(warp, op, lane, sources[lane], (int)size), (int)size).ToArray();
            for (; ranks != 0; ranks &= ranks - 1)
                cluster.Blocks[BitOperations.TrailingZeroCount(ranks)].Shared.IssueBulk(warp, op, lane, target, barrier, data);
        }
    }
}
