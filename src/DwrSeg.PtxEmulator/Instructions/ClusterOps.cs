using System.Numerics;
using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary>
/// Blocks of a cluster: their barrier, and each other's shared memory. An address that <c>mapa</c> makes has the block's rank, plus one, above
/// 24 bits of offset; what has 0 there is the block's own.
/// </summary>
internal static unsafe class ClusterOps
{
    private const int OffsetBits = 24;
    private const int Relaxed = 1;
    private const int Aligned = 2;

    public static void Register(Dictionary<string, Action<InstructionReader>> table)
    {
        table["mapa"] = r =>
        {
            r.Requires(90);
            bool generic = !r.Flag("shared::cluster");
            int bits = r.Type().Bytes() * 8;
            if (generic && bits != 64) throw r.Error("32-bit generic addresses are not emulated");
            r.Operation.Immediate = generic ? (long)MoveOps.SharedWindow : 0;
            int d = r.Destination(0, bits), a = r.Source(1, bits), b = r.Source(2, 32);
            r.Emit(bits == 64 ? &Map<ulong> : &Map<uint>, InstructionClass.Integer, d, a, b);
        };
    }

    /// <summary><c>barrier.cluster</c>, behind these two words.</summary>
    public static void DecodeBarrier(InstructionReader r)
    {
        r.Requires(90);
        string what = r.OneOf("arrive", "wait") ?? throw r.Error("a barrier of which kind?");
        int aligned = r.Flag("aligned") ? Aligned : 0;
        if (what == "arrive")
        {
            int relaxed = r.OneOf("release", "relaxed") == "relaxed" ? Relaxed : 0;
            r.Emit(&Arrive, InstructionClass.Barrier, small: relaxed | aligned);
            return;
        }
        r.Flag("acquire");
        r.Operation.Kind = OpKind.Wait;
        r.Emit(&Wait, InstructionClass.Barrier, small: aligned);
    }

    /// <summary>A load or store by addresses in the cluster's shared memory.</summary>
    public static void Access(Warp warp, Op* op)
    {
        MemoryAccess access = warp.Code.Accesses[op->Index]!;
        uint* addresses = stackalloc uint[32];
        MemoryOps.Offsets(warp, op->A, access.WideAddress, op->Immediate, addresses);
        Access(warp, op, access, addresses, warp.Mask);
    }

    public static void Access(Warp warp, Op* op, MemoryAccess access, uint* addresses, uint mask)
    {
        uint* offsets = stackalloc uint[32];
        for (uint left = mask; left != 0;)
        {
            int first = BitOperations.TrailingZeroCount(left);
            uint here = 0, place = addresses[first] >> OffsetBits;
            BlockRunner owner = Owner(warp, op, first, addresses[first], out _);
            for (int lane = first; lane < 32; lane++)
            {
                if ((left >> lane & 1) == 0 || addresses[lane] >> OffsetBits != place) continue;
                here |= 1u << lane;
            }
            for (int lane = 0; lane < 32; lane++) offsets[lane] = addresses[lane] & ((1u << OffsetBits) - 1);
            left &= ~here;
            if (owner != warp.Block) owner.Shared.AccessByPeer(warp, op, access, offsets, here);
            else if (access.Store) owner.Shared.Store(warp, op, access, offsets, here);
            else owner.Shared.Load(warp, op, access, offsets, here);
        }
    }

    /// <summary>The block whose shared memory an address of the cluster's is in.</summary>
    public static BlockRunner Owner(Warp warp, Op* op, int lane, uint address, out uint offset)
    {
        uint place = address >> OffsetBits;
        offset = address & ((1u << OffsetBits) - 1);
        if (place > (uint)warp.Block.Cluster.Size)
            throw warp.Failure(op, FailureKind.OutOfBounds, 1u << lane,
                $"0x{address:x} is no address in the shared memory of a cluster of {warp.Block.Cluster.Size}", address);
        return place == 0 ? warp.Block : warp.Block.Cluster.Blocks[(int)place - 1];
    }

    private static void Map<T>(Warp warp, Op* op)
        where T : unmanaged, IBinaryInteger<T>
    {
        T* a = (T*)(warp.Frame + op->A), d = (T*)(warp.Frame + op->D);
        var ranks = (uint*)(warp.Frame + op->B);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            if (ranks[lane] >= (uint)warp.Block.Cluster.Size)
                throw warp.Failure(op, FailureKind.InvalidOperation, 1u << lane,
                    $"block {ranks[lane]} of a cluster of {warp.Block.Cluster.Size}");
            ulong address = ulong.CreateTruncating(a[lane]), window = (ulong)op->Immediate;
            if (address - window >= MoveOps.WindowBytes)
                throw warp.Failure(op, FailureKind.InvalidOperation, 1u << lane,
                    $"0x{address:x} is no {(window == 0 ? "" : "generic ")}address of the block's own shared memory", address);
            d[lane] = T.CreateTruncating(address + ((ulong)(ranks[lane] + 1) << OffsetBits));
        }
    }

    private static void Arrive(Warp warp, Op* op)
    {
        CheckLanes(warp, op);
        warp.Block.Cluster.Arrive(warp, op, (op->Small & Relaxed) == 0);
    }

    private static void Wait(Warp warp, Op* op)
    {
        CheckLanes(warp, op);
        warp.Block.Cluster.Wait(warp, op);
    }

    /// <summary>All lanes of the warp have to come together; without <c>.aligned</c> those that have exited count as arrived.</summary>
    private static void CheckLanes(Warp warp, Op* op)
    {
        uint expected = (op->Small & Aligned) != 0 ? warp.Lanes : warp.Lanes & ~warp.Exited;
        if (warp.Mask != expected) throw BarrierOps.Divergent(warp, op, expected, "the cluster's barrier");
    }
}
