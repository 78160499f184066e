using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary><c>setp</c> and <c>set</c>.</summary>
internal static unsafe class CompareOps
{
    private const int Ftz = 1;

    private static readonly string[] Names = ["eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan",
        "lo", "ls", "hi", "hs"];

    private enum Relation
    {
        Equal,
        NotEqual,
        Less,
        LessOrEqual,
        Greater,
        GreaterOrEqual,
        EqualOrNaN,
        NotEqualOrNaN,
        LessOrNaN,
        LessOrEqualOrNaN,
        GreaterOrNaN,
        GreaterOrEqualOrNaN,
        Numbers,
        NaN,
    }

    public static void Register(Dictionary<string, Action<InstructionReader>> table)
    {
        table["setp"] = r =>
        {
            (Relation relation, string? combine, bool flush) = Modifiers(r);
            PtxType type = r.Type();
            int bits = type.Bytes() * 8;
            PtxOperand target = r.Operand(0);
            bool pair = target.Kind == OperandKind.Pair;
            if (!pair && type is PtxType.F16x2 or PtxType.BF16x2) throw r.Error("packed comparisons write two predicates");
            if (type is PtxType.F16x2 or PtxType.BF16x2)
            {
                if (combine is not null) throw r.Error("packed comparisons that combine predicates are not emulated");
                int p = r.DestinationOf(target.Elements[0], 1), q = r.DestinationOf(target.Elements[1], 1);
                r.Operation.E = q;
                r.Operation.Immediate = (long)relation;
                r.Emit(type == PtxType.F16x2 ? &SetPacked<HalfValue> : &SetPacked<BrainValue>, InstructionClass.Float16, p, r.Source(1, 32),
                    r.Source(2, 32), small: flush ? Ftz : 0);
                return;
            }
            int d = r.DestinationOf(pair ? target.Elements[0] : target, 1);
            r.Operation.E = pair ? r.DestinationOf(target.Elements[1], 1) : -1;
            int a = r.Source(1, bits), b = r.Source(2, bits), c = -1;
            bool negated = false;
            if (combine is not null) c = r.Predicate(r.Operand(3), out negated);
            int small = (flush ? Ftz : 0) | (combine switch { "and" => 1, "or" => 2, "xor" => 3, _ => 0 } << 1) | (negated ? 8 : 0);
            r.Operation.Immediate = (long)relation;
            r.Emit(Comparer(r, type), ClassOf(type), d, a, b, c, small: small);
        };
        table["set"] = r =>
        {
            (Relation relation, string? combine, bool flush) = Modifiers(r);
            PtxType to = r.Type(), type = r.Type();
            if (combine is not null) throw r.Error("set that combines predicates is not emulated");
            if (to is PtxType.F16x2 or PtxType.BF16x2) throw r.Error("packed set is not emulated");
            int bits = type.Bytes() * 8, p = r.Write(r.Translator.Temporary(0));
            int d = r.Destination(0, 32), a = r.Source(1, bits), b = r.Source(2, bits);
            r.Operation.E = -1;
            r.Operation.F = d;
            r.Operation.Immediate = (uint)relation | (to == PtxType.F32 ? 256u : 0u);
            r.Emit(Comparer(r, type), ClassOf(type), p, a, b, small: flush ? Ftz : 0);
        };
    }

    private static InstructionClass ClassOf(PtxType type) => type switch
    {
        PtxType.F32 => InstructionClass.Float32,
        PtxType.F64 => InstructionClass.Float64,
        PtxType.F16 or PtxType.BF16 => InstructionClass.Float16,
        _ => InstructionClass.Integer,
    };

    private static (Relation Relation, string? Combine, bool Flush) Modifiers(InstructionReader r)
    {
        string name = r.OneOf(Names) ?? throw r.Error("a comparison of what kind?");
        int at = Array.IndexOf(Names, name);
        if (at >= 14) at = at - 14 + (int)Relation.Less;
        return ((Relation)at, r.OneOf("and", "or", "xor"), r.Flag("ftz"));
    }

    private static delegate*<Warp, Op*, void> Comparer(InstructionReader r, PtxType type) => type switch
    {
        PtxType.U32 or PtxType.B32 or PtxType.U16 or PtxType.B16 => &Set<uint, Same<uint>>,
        PtxType.S32 => &Set<int, Same<int>>,
        PtxType.S16 => &Set<int, Upper>,
        PtxType.U64 or PtxType.B64 => &Set<ulong, Same<ulong>>,
        PtxType.S64 => &Set<long, Same<long>>,
        PtxType.F32 => &Set<float, Same<float>>,
        PtxType.F64 => &Set<double, Same<double>>,
        PtxType.F16 => &Set<float, HalfValue>,
        PtxType.BF16 => &Set<float, BrainValue>,
        _ => throw r.Error($"comparisons of {type} are not known to the emulator"),
    };

    private interface IValue<T>
    {
        static abstract Vector512<T> Of(Vector512<T> raw);
    }

    private struct Same<T> : IValue<T> { public static Vector512<T> Of(Vector512<T> raw) => raw; }

    private struct Upper : IValue<int> { public static Vector512<int> Of(Vector512<int> raw) => raw << 16; }

    private struct HalfValue : IValue<float> { public static Vector512<float> Of(Vector512<float> raw) => HalfOps.ToFloat(raw.AsUInt32()); }

    private struct BrainValue : IValue<float>
    {
        public static Vector512<float> Of(Vector512<float> raw) => (raw.AsUInt32() << 16).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Set<T, TValue>(Warp warp, Op* op)
        where T : unmanaged
        where TValue : struct, IValue<T>
    {
        T* a = (T*)(warp.Frame + op->A), b = (T*)(warp.Frame + op->B);
        uint result = 0;
        bool flush = typeof(T) == typeof(float) && (op->Small & Ftz) != 0;
        for (int i = 0; i < 32; i += Vector512<T>.Count)
        {
            Vector512<T> x = TValue.Of(Vector512.Load(a + i)), y = TValue.Of(Vector512.Load(b + i));
            if (flush) (x, y) = (FloatOps.Flush(x.AsSingle()).As<float, T>(), FloatOps.Flush(y.AsSingle()).As<float, T>());
            result |= (uint)Compare(x, y, (Relation)(op->Immediate & 255)) << i;
        }
        uint other = ~result;
        int combine = op->Small >> 1 & 3;
        if (combine != 0)
        {
            uint c = *(uint*)(warp.Frame + op->C);
            if ((op->Small & 8) != 0) c = ~c;
            (result, other) = combine switch { 1 => (result & c, other & c), 2 => (result | c, other | c), _ => (result ^ c, other ^ c) };
        }
        if (op->D >= 0) MoveOps.SetPredicate(warp, op->D, result);
        if (op->E >= 0) MoveOps.SetPredicate(warp, op->E, other);
        if (op->F < 0) return;
        uint yes = (op->Immediate & 256) != 0 ? 0x3f800000u : uint.MaxValue;
        var d = (uint*)(warp.Frame + op->F);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            d[i] = (result >> i & 1) != 0 ? yes : 0;
        }
    }

    private static void SetPacked<TValue>(Warp warp, Op* op)
        where TValue : struct, IValue<float>
    {
        uint* a = (uint*)(warp.Frame + op->A), b = (uint*)(warp.Frame + op->B);
        uint low = 0, high = 0;
        for (int i = 0; i < 32; i += 16)
        {
            Vector512<uint> x = Vector512.Load(a + i), y = Vector512.Load(b + i);
            var relation = (Relation)op->Immediate;
            low |= (uint)Compare(TValue.Of((x & Vector512.Create(0xffffu)).AsSingle()),
                TValue.Of((y & Vector512.Create(0xffffu)).AsSingle()), relation) << i;
            high |= (uint)Compare(TValue.Of((x >>> 16).AsSingle()), TValue.Of((y >>> 16).AsSingle()), relation) << i;
        }
        if (op->D >= 0) MoveOps.SetPredicate(warp, op->D, low);
        if (op->E >= 0) MoveOps.SetPredicate(warp, op->E, high);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Compare<T>(Vector512<T> x, Vector512<T> y, Relation relation) => (relation switch
    {
        Relation.Equal => Vector512.Equals(x, y),
        Relation.NotEqual => ~Vector512.Equals(x, y) & Ordered(x, y),
        Relation.Less => Vector512.LessThan(x, y),
        Relation.LessOrEqual => Vector512.LessThanOrEqual(x, y),
        Relation.Greater => Vector512.GreaterThan(x, y),
        Relation.GreaterOrEqual => Vector512.GreaterThanOrEqual(x, y),
        Relation.EqualOrNaN => Vector512.Equals(x, y) | ~Ordered(x, y),
        Relation.NotEqualOrNaN => ~Vector512.Equals(x, y),
        Relation.LessOrNaN => ~Vector512.GreaterThanOrEqual(x, y),
        Relation.LessOrEqualOrNaN => ~Vector512.GreaterThan(x, y),
        Relation.GreaterOrNaN => ~Vector512.LessThanOrEqual(x, y),
        Relation.GreaterOrEqualOrNaN => ~Vector512.LessThan(x, y),
        Relation.Numbers => Ordered(x, y),
        _ => ~Ordered(x, y),
    }).ExtractMostSignificantBits();

    private static Vector512<T> Ordered<T>(Vector512<T> x, Vector512<T> y) => Vector512.Equals(x, x) & Vector512.Equals(y, y);
}
