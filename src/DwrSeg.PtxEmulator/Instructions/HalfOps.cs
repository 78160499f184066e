using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary>fp16 and bf16 arithmetic, one value or two a lane; every result is rounded once.</summary>
internal static unsafe class HalfOps
{
    private const InstructionClass Kind = InstructionClass.Float16;
    private const int Ftz = 1;
    private const int Sat = 2;
    private const int Relu = 4;
    private const int Packed = 8;
    private const int Brain = 16;

    public static void Decode(InstructionReader r, string opcode, PtxType type)
    {
        bool packed = type is PtxType.F16x2 or PtxType.BF16x2, brain = type is PtxType.BF16 or PtxType.BF16x2;
        if (brain) r.Requires(opcode is "add" or "sub" or "mul" or "ex2" or "tanh" ? 90 : 80);
        else if (opcode is "min" or "max") r.Requires(80);
        else if (opcode is "ex2" or "tanh") r.Requires(75);
        r.OneOf("rn");
        int flags = (r.Flag("ftz") ? Ftz : 0) | (r.Flag("sat") ? Sat : 0) | (r.Flag("relu") ? Relu : 0) | (packed ? Packed : 0)
            | (brain ? Brain : 0);
        bool nan = r.Flag("NaN");
        r.Flag("approx");
        int bits = packed ? 32 : 16, values = packed ? 2 : 1;
        int operands = opcode switch { "fma" or "mad" => 3, "abs" or "neg" or "ex2" or "tanh" => 1, _ => 2 };
        int d = r.Destination(0, bits), a = r.Source(1, bits), b = operands > 1 ? r.Source(2, bits) : -1, c = operands > 2
            ? r.Source(3, bits) : -1;
        bool fast = !brain && (flags & Ftz) == 0;
        delegate*<Warp, Op*, void> run = opcode switch
        {
            "add" => fast ? &Vector<VectorAdd> : &Lanes<Add>,
            "sub" => fast ? &Vector<VectorSub> : &Lanes<Sub>,
            "mul" => fast ? &Vector<VectorMul> : &Lanes<Mul>,
            "fma" or "mad" => fast ? &Vector<VectorFma> : &Lanes<Fma>,
            "min" => nan ? &Lanes<MinNaN> : &Lanes<Min>,
            "max" => nan ? &Lanes<MaxNaN> : &Lanes<Max>,
            "abs" => &Absolute,
            "neg" => &Negate,
            "ex2" => &Lanes<Exp2>,
            "tanh" => &Lanes<Tanh>,
            _ => throw r.Error($"{opcode} of {type} is not known to the emulator"),
        };
        r.Emit(run, Kind, d, a, b, c, flops: opcode is "abs" or "neg" ? 0 : (operands == 3 ? 2 : 1) * values, small: flags);
    }

    /// <summary>The values of the lower halves of lanes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> ToFloat(Vector512<uint> half)
    {
        // Scaling by 2^112 moves the exponent's bias and makes subnormals right; infinities and NaNs are put back.
        Vector512<uint> magnitude = (half & Vector512.Create(0x7fffu)) << 13;
        Vector512<uint> scaled = (magnitude.AsSingle() * Vector512.Create(0x77800000u).AsSingle()).AsUInt32();
        Vector512<uint> special = Vector512.GreaterThanOrEqual(magnitude, Vector512.Create(0x0f800000u)) & Vector512.Create(0x7f800000u);
        return (scaled | special | ((half & Vector512.Create(0x8000u)) << 16)).AsSingle();
    }

    /// <summary>Values rounded to nearest, in the lower halves of lanes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<uint> FromFloat(Vector512<float> value)
    {
        Vector512<uint> bits = value.AsUInt32(), sign = (bits >>> 16) & Vector512.Create(0x8000u),
            magnitude = bits & Vector512.Create(0x7fffffffu);
        Vector512<uint> normal = (magnitude + Vector512.Create(unchecked(0xfffu - (112u << 23))) + ((magnitude >>> 13) & Vector512<uint>.One)) >>> 13;
        // Adding 1/2 leaves a subnormal's bits at the bottom of the sum, rounded.
        Vector512<uint> small = (magnitude.AsSingle() + Vector512.Create(0.5f)).AsUInt32() - Vector512.Create(0x3f000000u);
        Vector512<uint> result = Vector512.ConditionalSelect(Vector512.LessThan(magnitude, Vector512.Create(0x38800000u)), small, normal);
        result = Vector512.ConditionalSelect(Vector512.GreaterThanOrEqual(magnitude, Vector512.Create(0x477ff000u)),
            Vector512.Create(0x7c00u), result);
        result |= sign;
        return Vector512.ConditionalSelect(Vector512.GreaterThan(magnitude, Vector512.Create(0x7f800000u)), Vector512.Create(0x7fffu),
            result);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Vector<TOp>(Warp warp, Op* op)
        where TOp : struct, IVector3<float>
    {
        uint* a = (uint*)(warp.Frame + op->A), b = (uint*)(warp.Frame + op->B), d = (uint*)(warp.Frame + op->D);
        uint* c = op->C >= 0 ? (uint*)(warp.Frame + op->C) : b;
        for (int i = 0; i < 32; i += 16)
        {
            Vector512<uint> x = Vector512.Load(a + i), y = Vector512.Load(b + i), z = Vector512.Load(c + i);
            Vector512<uint> result = FromFloat(Clamp(TOp.Do(ToFloat(x), ToFloat(y), ToFloat(z)), op->Small));
            if ((op->Small & Packed) != 0)
                result |= FromFloat(Clamp(TOp.Do(ToFloat(x >>> 16), ToFloat(y >>> 16), ToFloat(z >>> 16)), op->Small)) << 16;
            Shell.Store(d, i, warp.Mask, result);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Clamp(Vector512<float> value, int flags)
    {
        if ((flags & Sat) != 0)
        {
            value = Vector512.ConditionalSelect(Vector512.GreaterThan(value, Vector512<float>.Zero), value, Vector512<float>.Zero);
            value = Vector512.ConditionalSelect(Vector512.GreaterThan(value, Vector512<float>.One), Vector512<float>.One, value);
        }
        // A NaN stays one under .relu.
        if ((flags & Relu) != 0)
            value = Vector512.ConditionalSelect(Vector512.LessThanOrEqual(value, Vector512<float>.Zero), Vector512<float>.Zero, value);
        return value;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Lanes<TOp>(Warp warp, Op* op)
        where TOp : struct, IExact
    {
        uint* a = (uint*)(warp.Frame + op->A), d = (uint*)(warp.Frame + op->D);
        uint* b = op->B >= 0 ? (uint*)(warp.Frame + op->B) : a, c = op->C >= 0 ? (uint*)(warp.Frame + op->C) : a;
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            uint result = One<TOp>(a[i] & 0xffff, b[i] & 0xffff, c[i] & 0xffff, op->Small);
            if ((op->Small & Packed) != 0) result |= One<TOp>(a[i] >> 16, b[i] >> 16, c[i] >> 16, op->Small) << 16;
            d[i] = result;
        }
    }

    private static uint One<TOp>(uint a, uint b, uint c, int flags)
        where TOp : struct, IExact
    {
        bool brain = (flags & Brain) != 0, flush = (flags & Ftz) != 0;
        double x = Read(a, brain, flush), y = Read(b, brain, flush), z = Read(c, brain, flush);
        (double sum, double rest) = TOp.Do(x, y, z);
        double exact = Rounding.Odd(sum, rest);
        if ((flags & Sat) != 0) exact = exact > 0 ? Math.Min(exact, 1) : 0;
        if ((flags & Relu) != 0 && exact <= 0) exact = 0;
        uint result = brain ? Rounding.ToBFloat(exact) : Rounding.ToHalf(exact);
        return flush && !brain && (result & 0x7c00) == 0 ? result & 0x8000 : result;
    }

    private static double Read(uint bits, bool brain, bool flush) =>
        brain ? Rounding.FromBFloat(bits) : flush && (bits & 0x7c00) == 0 ? Rounding.FromHalf(bits & 0x8000) : Rounding.FromHalf(bits);

    private static void Absolute(Warp warp, Op* op) => Signs(warp, op, 0x7fff7fff, 0);

    private static void Negate(Warp warp, Op* op) => Signs(warp, op, uint.MaxValue, 0x80008000);

    private static void Signs(Warp warp, Op* op, uint keep, uint flip)
    {
        if ((op->Small & Packed) == 0) (keep, flip) = (keep & 0xffff, flip & 0xffff);
        uint* a = (uint*)(warp.Frame + op->A), d = (uint*)(warp.Frame + op->D);
        bool flush = (op->Small & Ftz) != 0;
        for (int i = 0; i < 32; i += 16)
        {
            Vector512<uint> x = Vector512.Load(a + i);
            if (flush) x &= Kept(x, 0) | Kept(x, 16);
            Shell.Store(d, i, warp.Mask, (x & Vector512.Create(keep)) ^ Vector512.Create(flip));
        }
    }

    /// <summary>The bits that flushing leaves of the half at a place: all, or the sign where it is subnormal.</summary>
    private static Vector512<uint> Kept(Vector512<uint> x, int place)
    {
        Vector512<uint> subnormal = Vector512.Equals(x & Vector512.Create(0x7c00u << place), Vector512<uint>.Zero);
        return Vector512.ConditionalSelect(subnormal, Vector512.Create(0x8000u << place), Vector512.Create(0xffffu << place));
    }

    private interface IExact
    {
        static abstract (double Sum, double Lost) Do(double a, double b, double c);
    }

    private struct Add : IExact { public static (double Sum, double Lost) Do(double a, double b, double c) => Rounding.Add(a, b); }

    private struct Sub : IExact { public static (double Sum, double Lost) Do(double a, double b, double c) => Rounding.Add(a, -b); }

    private struct Mul : IExact { public static (double Sum, double Lost) Do(double a, double b, double c) => (a * b, 0); }

    private struct Fma : IExact { public static (double Sum, double Lost) Do(double a, double b, double c) => Rounding.Add(a * b, c); }

    private struct Min : IExact { public static (double Sum, double Lost) Do(double a, double b, double c) => (double.MinNumber(a, b), 0); }

    private struct Max : IExact { public static (double Sum, double Lost) Do(double a, double b, double c) => (double.MaxNumber(a, b), 0); }

    private struct MinNaN : IExact { public static (double Sum, double Lost) Do(double a, double b, double c) => (Math.Min(a, b), 0); }

    private struct MaxNaN : IExact { public static (double Sum, double Lost) Do(double a, double b, double c) => (Math.Max(a, b), 0); }

    private struct Exp2 : IExact { public static (double Sum, double Lost) Do(double a, double b, double c) => (Math.Pow(2, a), 0); }

    private struct Tanh : IExact { public static (double Sum, double Lost) Do(double a, double b, double c) => (Math.Tanh(a), 0); }

    // Sums and products of two fp16 values rounded to fp32 first round to fp16 as the exact ones do: 24 bits are twice 11 and two more.
    private struct VectorAdd : IVector3<float>
    {
        public static Vector512<float> Do(Vector512<float> a, Vector512<float> b, Vector512<float> c) => a + b;
    }

    private struct VectorSub : IVector3<float>
    {
        public static Vector512<float> Do(Vector512<float> a, Vector512<float> b, Vector512<float> c) => a - b;
    }

    private struct VectorMul : IVector3<float>
    {
        public static Vector512<float> Do(Vector512<float> a, Vector512<float> b, Vector512<float> c) => a * b;
    }

    private struct VectorFma : IVector3<float>
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<float> Do(Vector512<float> a, Vector512<float> b, Vector512<float> c)
        {
            // The product is exact. What the sum loses goes into its last bit, so that rounding it again is rounding the exact sum.
            Vector512<float> product = a * b, sum = product + c, part = sum - product;
            Vector512<float> rest = (product - (sum - part)) + (c - part);
            Vector512<uint> lost = ~Vector512.Equals(rest, Vector512<float>.Zero).AsUInt32() & Vector512.LessThan(Vector512.Abs(sum),
                Vector512.Create(float.PositiveInfinity)).AsUInt32();
            Vector512<uint> inward = ((sum.AsUInt32() ^ rest.AsUInt32()) >>> 31) & lost;
            Vector512<uint> odd = (sum.AsUInt32() - inward) | (lost & Vector512<uint>.One);
            return odd.AsSingle();
        }
    }
}
