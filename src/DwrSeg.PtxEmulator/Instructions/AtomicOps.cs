using System.Numerics;
using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary><c>atom</c> and <c>red</c>, lane after lane in order.</summary>
internal static unsafe class AtomicOps
{
    private static readonly string[] Operations = ["add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"];

    public static void Register(Dictionary<string, Action<InstructionReader>> table)
    {
        table["atom"] = r => Decode(r, returns: true);
        table["red"] = r => Decode(r, returns: false);
    }

    private static void Decode(InstructionReader r, bool returns)
    {
        string? order = r.OneOf("relaxed", "acquire", "release", "acq_rel");
        bool reachesBlocks = r.OneOf("cta", "cluster", "gpu", "sys") is null or "gpu" or "sys";
        StateSpace space = MemoryOps.Space(r);
        if (space == StateSpace.Cluster) throw r.Error("atomics on shared memory of the cluster's other blocks are not emulated");
        string operation = r.OneOf(Operations) ?? throw r.Error("an atomic of which kind?");
        r.Flag("noftz");
        bool hint = r.Flag("L2::cache_hint");
        int elements = r.OneOf("v2", "v4", "v8") switch { "v2" => 2, "v4" => 4, "v8" => 8, _ => 1 };
        PtxType type = r.Type();
        int bytes = type.Bytes(), bits = bytes * 8, first = returns ? 1 : 0;
        if (type.IsFloat() && operation is not ("add" or "min" or "max")) throw r.Error($"no atomic {operation} has type {type}");
        if (type is PtxType.F32 or PtxType.F64 && operation != "add") throw r.Error($"no atomic {operation} has type {type}");
        if (type == PtxType.F64) r.Requires(60);
        if (type is PtxType.F16) r.Requires(70);
        if (type is PtxType.BF16 or PtxType.BF16x2 || elements > 1) r.Requires(90);
        bool wide = MemoryOps.Address(r, first, out int address);
        int d = -1;
        if (returns && elements == 1) d = r.Destination(0, bits);
        else if (returns) throw r.Error("vector atomics that return a value are not emulated");
        IReadOnlyList<PtxOperand> values = r.Elements(first + 1);
        if (values.Count != elements) throw r.Error($"{values.Count} registers for {elements} elements");
        foreach (PtxOperand value in values) r.Operation.Extra.Add(r.SourceOf(value, bits));
        int c = operation == "cas" ? r.Source(first + 2, bits) : -1;
        if (hint) r.Source(first + (c >= 0 ? 3 : 2), 64);
        if (space is StateSpace.Shared or StateSpace.Generic)
            r.Translator.SharedGranule = Math.Min(r.Translator.SharedGranule, BitOperations.Log2((uint)bytes));
        if (space is StateSpace.Global or StateSpace.Generic && (returns || type.IsFloat())) r.Translator.OrderedAtomics = true;
        r.Operation.Access = new MemoryAccess
        {
            Space = space, ElementBytes = bytes, Elements = elements, WideAddress = wide, DataBits = bits, Store = true, Strong = true,
            Acquire = reachesBlocks && order is ("acquire" or "acq_rel"), Release = reachesBlocks && order is ("release" or "acq_rel"),
        };
        r.Operation.Small = Array.IndexOf(Operations, operation) | (int)type << 8;
        r.Emit(&Run, InstructionClass.Atomic, d, address, c: c, flops: type.IsFloat() ? elements : 0);
    }

    private static void Run(Warp warp, Op* op)
    {
        MemoryAccess access = warp.Code.Accesses[op->Index]!;
        ulong* addresses = stackalloc ulong[32];
        MemoryOps.Addresses(warp, op->A, access.WideAddress, op->Immediate, addresses);
        uint shared = access.Space == StateSpace.Shared ? warp.Mask : 0;
        if (access.Space == StateSpace.Generic)
        {
            (shared, uint local) = MemoryOps.Split(addresses, warp.Mask);
            if (local != 0) throw warp.Failure(op, FailureKind.InvalidOperation, local, "an atomic on local memory");
            for (int i = 0; i < 32; i++) if ((shared >> i & 1) != 0) addresses[i] -= MoveOps.SharedWindow;
        }
        byte** pointers = stackalloc byte*[32];
        uint global = warp.Mask & ~shared;
        if (global != 0) warp.Block.Global.Atomic(warp, op, access, op->D >= 0, addresses, global, pointers);
        if (shared != 0)
        {
            uint* offsets = stackalloc uint[32];
            for (int i = 0; i < 32; i++) offsets[i] = addresses[i] > uint.MaxValue ? uint.MaxValue : (uint)addresses[i];
            for (uint left = shared; left != 0; left &= left - 1)
            {
                int lane = BitOperations.TrailingZeroCount(left);
                if (offsets[lane] - MoveOps.WindowBytes < MoveOps.ClusterWindowBytes)
                    throw warp.Failure(op, FailureKind.InvalidOperation, 1u << lane, "atomics on addresses of mapa are not emulated");
                pointers[lane] = warp.Block.Shared.Atomic(warp, op, lane, offsets[lane], access.Bytes);
            }
            warp.Block.Shared.Count(op, offsets, shared, access.Bytes);
        }
        for (int e = 0; e < access.Elements; e++)
        {
            for (uint left = warp.Mask; left != 0; left &= left - 1)
            {
                int lane = BitOperations.TrailingZeroCount(left);
                ulong value = Lane(warp, op->Extra[e], lane, access.DataBits), third = op->C >= 0
                    ? Lane(warp, op->C, lane, access.DataBits) : 0;
                ulong old = Change(pointers[lane] + e * access.ElementBytes, access.ElementBytes, op->Small, value, third);
                if (op->D < 0) continue;
                if (access.DataBits == 64) ((ulong*)(warp.Frame + op->D))[lane] = old;
                else ((uint*)(warp.Frame + op->D))[lane] = (uint)old;
            }
        }
    }

    private static ulong Lane(Warp warp, int place, int lane, int bits) =>
        bits == 64 ? ((ulong*)(warp.Frame + place))[lane] : ((uint*)(warp.Frame + place))[lane];

    private static ulong Change(byte* target, int bytes, int code, ulong value, ulong third)
    {
        // Other blocks may change the same word at the same time, but only with operations whose order does not matter.
        while (true)
        {
            switch (bytes)
            {
                case 4:
                {
                    uint old = *(uint*)target;
                    if (Interlocked.CompareExchange(ref *(uint*)target, (uint)Result(code, old, value, third), old) == old) return old;
                    break;
                }
                case 8:
                {
                    ulong old = *(ulong*)target;
                    if (Interlocked.CompareExchange(ref *(ulong*)target, Result(code, old, value, third), old) == old) return old;
                    break;
                }
                default:
                {
                    ushort old = *(ushort*)target;
                    *(ushort*)target = (ushort)Result(code, old, value, third);
                    return old;
                }
            }
        }
    }

    private static ulong Result(int code, ulong old, ulong value, ulong third)
    {
        var type = (PtxType)(code >> 8);
        switch (code & 255)
        {
            case 0:
                return type switch
                {
                    PtxType.F32 => BitConverter.SingleToUInt32Bits(Single((uint)old) + Single((uint)value)),
                    PtxType.F64 => BitConverter.DoubleToUInt64Bits(BitConverter.UInt64BitsToDouble(old) + BitConverter.UInt64BitsToDouble(value)),
                    PtxType.F16 => HalfAdd((uint)old, (uint)value),
                    PtxType.F16x2 => HalfAdd((uint)old & 0xffff, (uint)value & 0xffff)
                        | (ulong)HalfAdd((uint)old >> 16, (uint)value >> 16) << 16,
                    PtxType.BF16 => BrainAdd((uint)old, (uint)value),
                    PtxType.BF16x2 => BrainAdd((uint)old & 0xffff, (uint)value & 0xffff)
                        | (ulong)BrainAdd((uint)old >> 16, (uint)value >> 16) << 16,
                    _ => old + value,
                };
            case 1 or 2:
                bool less = type switch
                {
                    PtxType.S32 => (int)old < (int)value,
                    PtxType.S64 => (long)old < (long)value,
                    PtxType.F16 => Rounding.FromHalf((uint)old) < Rounding.FromHalf((uint)value),
                    PtxType.BF16 => Rounding.FromBFloat((uint)old) < Rounding.FromBFloat((uint)value),
                    _ => old < value,
                };
                return less == ((code & 255) == 1) ? old : value;
            case 3:
                return old & value;
            case 4:
                return old | value;
            case 5:
                return old ^ value;
            case 6:
                return value;
            case 7:
                return old == value ? third : old;
            case 8:
                return old >= value ? 0 : old + 1;
            default:
                return old == 0 || old > value ? value : old - 1;
        }
    }

    private static float Single(uint bits) => BitConverter.UInt32BitsToSingle(bits);

    private static uint HalfAdd(uint a, uint b) => Rounding.ToHalf(Rounding.FromHalf(a) + Rounding.FromHalf(b));

    private static uint BrainAdd(uint a, uint b)
    {
        (double sum, double rest) = Rounding.Add(Rounding.FromBFloat(a), Rounding.FromBFloat(b));
        return Rounding.ToBFloat(Rounding.Odd(sum, rest));
    }
}
