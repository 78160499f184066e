using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary><c>mov</c>, selections, and conversions of addresses.</summary>
internal static unsafe class MoveOps
{
    private const InstructionClass Kind = InstructionClass.Move;

    /// <summary>Where generic addresses of shared and of local memory begin.</summary>
    public const ulong SharedWindow = 0x1000_0000_0000;
    public const ulong LocalWindow = 0x1100_0000_0000;

    public const ulong WindowBytes = 1ul << 24;

    /// <summary>Behind the block's own shared memory, that of each block of the cluster.</summary>
    public const ulong ClusterWindowBytes = (DeviceLimits.BlocksPerCluster + 1) * WindowBytes;

    public static void Register(Dictionary<string, Action<InstructionReader>> table)
    {
        table["mov"] = Move;
        table["selp"] = r =>
        {
            PtxType type = r.Type();
            int bits = type.Bytes() * 8;
            int d = r.Destination(0, bits), a = r.Source(1, bits), b = r.Source(2, bits), c = r.Predicate(r.Operand(3), out bool negated);
            if (negated) (a, b) = (b, a);
            r.Emit(bits == 64 ? &Select<ulong> : &Select<uint>, Kind, d, a, b, c);
        };
        table["slct"] = r =>
        {
            r.Flag("ftz");
            PtxType type = r.Type(), by = r.Type();
            int bits = type.Bytes() * 8;
            int d = r.Destination(0, bits), a = r.Source(1, bits), b = r.Source(2, bits), c = r.Source(3, 32);
            r.Emit(bits == 64 ? &SelectBySign<ulong> : &SelectBySign<uint>, Kind, d, a, b, c, small: by == PtxType.F32 ? 1 : 0);
        };
        table["cvta"] = r =>
        {
            bool toSpace = r.Flag("to");
            string space = r.OneOf("global", "shared", "shared::cta", "shared::cluster", "local", "const", "param")
                ?? throw r.Error("cvta of which space?");
            int bits = r.Type().Bytes() * 8;
            ulong window = space switch { "shared" or "shared::cta" or "shared::cluster" => SharedWindow, "local" => LocalWindow,
                "param" => throw r.Error("generic addresses of parameters are not emulated"), _ => 0 };
            if (bits != 64 && window != 0) throw r.Error("32-bit generic addresses are not emulated");
            r.Operation.Immediate = (long)(toSpace ? (ulong)-(long)window : window);
            r.Emit(bits == 64 ? &AddImmediate<ulong> : &AddImmediate<uint>, InstructionClass.Integer, r.Destination(0, bits),
                r.Source(1, bits));
        };
        table["isspacep"] = r =>
        {
            string space = r.OneOf("global", "shared", "shared::cta", "shared::cluster", "local", "const")
                ?? throw r.Error("isspacep of which space?");
            r.Emit(&IsSpace, InstructionClass.Integer, r.Destination(0, 1), r.Source(1, 64),
                small: space switch { "global" => 0, "local" => 2, "const" => 3, "shared::cluster" => 4, _ => 1 });
        };
    }

    /// <summary>Gives the active lanes of a predicate the bits of a mask.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetPredicate(Warp warp, int place, uint value)
    {
        var p = (uint*)(warp.Frame + place);
        *p = (*p & ~warp.Mask) | (value & warp.Mask);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Copy<T>(Warp warp, Op* op)
        where T : unmanaged
    {
        T* a = (T*)(warp.Frame + op->A), d = (T*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += Vector512<T>.Count) Shell.Store(d, i, warp.Mask, Vector512.Load(a + i));
    }

    private static void Move(InstructionReader r)
    {
        PtxType type = r.Type();
        if (type == PtxType.Pred)
        {
            int source = r.Predicate(r.Operand(1), out bool negated);
            r.Emit(negated ? &NotPredicate : &MovePredicate, Kind, r.Destination(0, 1), source);
            return;
        }
        int bits = type.Bytes() * 8;
        PtxOperand target = r.Operand(0), value = r.Operand(1);
        if (target.Kind == OperandKind.Vector)
        {
            int each = bits / target.Elements.Count, a = r.Source(1, bits);
            foreach (PtxOperand element in target.Elements) r.Operation.Extra.Add(r.DestinationOf(element, each));
            r.Emit(bits == 64 ? &Unpack64 : &Unpack32, Kind, a: a, small: each);
            return;
        }
        if (value.Kind == OperandKind.Vector)
        {
            int each = bits / value.Elements.Count, d = r.Destination(0, bits);
            foreach (PtxOperand element in value.Elements) r.Operation.Extra.Add(r.SourceOf(element, each));
            r.Emit(bits == 64 ? &Pack64 : &Pack32, Kind, d, small: each);
            return;
        }
        int to = r.Destination(0, bits), from = r.Source(1, bits);
        r.Emit(bits == 64 ? &Copy<ulong> : &Copy<uint>, Kind, to, from);
    }

    private static void MovePredicate(Warp warp, Op* op) => SetPredicate(warp, op->D, *(uint*)(warp.Frame + op->A));

    private static void NotPredicate(Warp warp, Op* op) => SetPredicate(warp, op->D, ~*(uint*)(warp.Frame + op->A));

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Select<T>(Warp warp, Op* op)
        where T : unmanaged
    {
        T* a = (T*)(warp.Frame + op->A), b = (T*)(warp.Frame + op->B), d = (T*)(warp.Frame + op->D);
        uint p = *(uint*)(warp.Frame + op->C);
        for (int i = 0; i < 32; i += Vector512<T>.Count)
            Shell.Store(d, i, warp.Mask,
                Vector512.ConditionalSelect(Shell.LaneMask<T>(p >> i), Vector512.Load(a + i), Vector512.Load(b + i)));
    }

    private static void SelectBySign<T>(Warp warp, Op* op)
        where T : unmanaged
    {
        T* a = (T*)(warp.Frame + op->A), b = (T*)(warp.Frame + op->B), d = (T*)(warp.Frame + op->D);
        byte* c = warp.Frame + op->C;
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            bool first = op->Small != 0 ? ((float*)c)[i] >= 0 : ((int*)c)[i] >= 0;
            d[i] = first ? a[i] : b[i];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddImmediate<T>(Warp warp, Op* op)
        where T : unmanaged, INumberBase<T>
    {
        T* a = (T*)(warp.Frame + op->A), d = (T*)(warp.Frame + op->D);
        Vector512<T> added = Vector512.Create(T.CreateTruncating(op->Immediate));
        for (int i = 0; i < 32; i += Vector512<T>.Count) Shell.Store(d, i, warp.Mask, Vector512.Load(a + i) + added);
    }

    private static void IsSpace(Warp warp, Op* op)
    {
        var a = (ulong*)(warp.Frame + op->A);
        uint result = 0;
        for (int i = 0; i < 32; i++)
        {
            bool own = a[i] - SharedWindow < WindowBytes, shared = a[i] - SharedWindow < ClusterWindowBytes, local = a[i] - LocalWindow < WindowBytes;
            bool inside = op->Small switch { 0 => !shared && !local, 1 => own, 2 => local, 4 => shared, _ => false };
            if (inside) result |= 1u << i;
        }
        SetPredicate(warp, op->D, result);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Unpack32(Warp warp, Op* op)
    {
        var a = (uint*)(warp.Frame + op->A);
        uint mask = (1u << op->Small) - 1;
        for (int e = 0; e < op->ExtraCount; e++)
        {
            if (op->Extra[e] < 0) continue;
            var d = (uint*)(warp.Frame + op->Extra[e]);
            for (int i = 0; i < 32; i += 16)
                Shell.Store(d, i, warp.Mask, (Vector512.Load(a + i) >>> (e * op->Small)) & Vector512.Create(mask));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Unpack64(Warp warp, Op* op)
    {
        var a = (ulong*)(warp.Frame + op->A);
        ulong mask = (1ul << op->Small) - 1;
        for (int e = 0; e < op->ExtraCount; e++)
        {
            if (op->Extra[e] < 0) continue;
            var d = (uint*)(warp.Frame + op->Extra[e]);
            for (uint left = warp.Mask; left != 0; left &= left - 1)
            {
                int i = BitOperations.TrailingZeroCount(left);
                d[i] = (uint)(a[i] >> (e * op->Small) & mask);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Pack32(Warp warp, Op* op)
    {
        var d = (uint*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += 16)
        {
            Vector512<uint> value = Vector512<uint>.Zero;
            for (int e = 0; e < op->ExtraCount; e++) value |= Vector512.Load((uint*)(warp.Frame + op->Extra[e]) + i) << (e * op->Small);
            Shell.Store(d, i, warp.Mask, value);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Pack64(Warp warp, Op* op)
    {
        var d = (ulong*)(warp.Frame + op->D);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            ulong value = 0;
            for (int e = 0; e < op->ExtraCount; e++) value |= (ulong)((uint*)(warp.Frame + op->Extra[e]))[i] << (e * op->Small);
            d[i] = value;
        }
    }
}
