using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary>
/// fp32 and fp64 arithmetic. Operations that IEEE 754 defines are exact to the last bit, with NaN results in the hardware's one form. The
/// approximations (<c>ex2</c>, <c>lg2</c>, <c>sin</c>, <c>cos</c>, <c>tanh</c>, <c>rcp</c>, <c>rsqrt</c>, <c>div.full</c>) are computed in double
/// precision and rounded, so they are closer to the truth than the hardware's, which may be off by a few units in the last place.
/// </summary>
internal static unsafe class FloatOps
{
    private const InstructionClass Single = InstructionClass.Float32;
    private const int Ftz = 1;
    private const int Sat = 2;

    private static readonly string[] RoundingNames = ["rn", "rz", "rm", "rp"];

    public static void Register(Dictionary<string, Action<InstructionReader>> table)
    {
        Special(table, "rcp", &Lanes<Reciprocal>, &Lanes64<Reciprocal64>);
        Special(table, "sqrt", &Lanes<SquareRoot>, &Lanes64<SquareRoot64>);
        Special(table, "rsqrt", &Lanes<ReciprocalRoot>, &Lanes64<ReciprocalRoot64>);
        Special(table, "sin", &Lanes<Sine>, null);
        Special(table, "cos", &Lanes<Cosine>, null);
        Special(table, "lg2", &Lanes<Log2>, null);
        Special(table, "ex2", &Lanes<Exp2>, null);
        Special(table, "tanh", &Lanes<Tanh>, null);
        table["copysign"] = r =>
        {
            if (r.Type() == PtxType.F64)
                r.Emit(&Shell.Lanes2<CopySign64, double, double, double>, InstructionClass.Float64, r.Destination(0, 64), r.Source(1, 64),
                    r.Source(2, 64));
            else r.Emit(&Shell.Lanes2<CopySign, float, float, float>, Single, r.Destination(0, 32), r.Source(1, 32), r.Source(2, 32));
        };
        table["testp"] = r =>
        {
            string test = r.OneOf("finite", "infinite", "number", "notanumber", "normal", "subnormal") ?? throw r.Error("testp of what?");
            bool wide = r.Type() == PtxType.F64;
            int small = Array.IndexOf((string[])["finite", "infinite", "number", "notanumber", "normal", "subnormal"], test)
                | (wide ? 8 : 0);
            r.Emit(&Test, Single, r.Destination(0, 1), r.Source(1, wide ? 64 : 32), small: small);
        };
    }

    public static void Float32(InstructionReader r, string opcode)
    {
        int flags = (r.Flag("ftz") ? Ftz : 0) | (r.Flag("sat") ? Sat : 0);
        switch (opcode)
        {
            case "add" or "sub" or "mul" or "fma" or "mad":
            {
                var mode = (RoundingMode)Math.Max(0, Array.IndexOf(RoundingNames, r.OneOf(RoundingNames) ?? "rn"));
                bool fused = opcode is "fma" or "mad";
                int d = r.Destination(0, 32), a = r.Source(1, 32), b = r.Source(2, 32), c = fused ? r.Source(3, 32) : -1;
                int flops = fused ? 2 : 1;
                r.Operation.Immediate = (long)mode;
                if (mode != RoundingMode.Nearest)
                    r.Emit(opcode switch { "add" => &Directed<ExactAdd>, "sub" => &Directed<ExactSub>, "mul" => &Directed<ExactMul>,
                        _ => &Directed<ExactFma> }, Single, d, a, b, c, flops, flags);
                else r.Emit(opcode switch { "add" => &Vector2<IntegerOps.Add<float>>, "sub" => &Vector2<IntegerOps.Sub<float>>,
                    "mul" => &Vector2<Mul>, _ => &Vector3<Fma> }, Single, d, a, b, c, flops, flags);
                break;
            }
            case "div":
            {
                string kind = r.OneOf("approx", "full", "rn", "rz", "rm", "rp") ?? throw r.Error("div needs a kind of rounding");
                int at = Array.IndexOf(RoundingNames, kind);
                r.Operation.Immediate = Math.Max(at, 0);
                r.Emit(at > 0 ? &Directed<ExactDiv> : &Vector2<Div>, Single, r.Destination(0, 32), r.Source(1, 32), r.Source(2, 32),
                    flops: 1, small: flags);
                break;
            }
            case "min" or "max":
            {
                bool nan = r.Flag("NaN");
                bool sign = r.Flag("xorsign");
                if (sign) throw r.Error(".xorsign.abs is not emulated");
                delegate*<Warp, Op*, void> run = opcode == "min" ? nan ? &Vector2<MinNaN> : &Vector2<Min> : nan ? &Vector2<MaxNaN>
                    : &Vector2<Max>;
                int d = r.Destination(0, 32), a = r.Source(1, 32), b = r.Source(2, 32);
                if (r.Operands > 3) throw r.Error("min and max of three are not emulated");
                r.Emit(run, Single, d, a, b, flops: 1, small: flags);
                break;
            }
            case "abs":
                r.Emit(&Vector1<Abs>, Single, r.Destination(0, 32), r.Source(1, 32), small: flags);
                break;
            case "neg":
                r.Emit(&Vector1<Neg>, Single, r.Destination(0, 32), r.Source(1, 32), small: flags);
                break;
            default:
                throw r.Error($"{opcode} of f32 is not known to the emulator");
        }
    }

    public static void Float64(InstructionReader r, string opcode)
    {
        const InstructionClass kind = InstructionClass.Float64;
        string? rounding = r.OneOf("rn", "rz", "rm", "rp");
        if (rounding is not (null or "rn")) throw r.Error("fp64 is emulated with rounding to nearest only");
        switch (opcode)
        {
            case "add":
                r.Emit(&Vector2Wide<IntegerOps.Add<double>>, kind, r.Destination(0, 64), r.Source(1, 64), r.Source(2, 64), flops: 1);
                break;
            case "sub":
                r.Emit(&Vector2Wide<IntegerOps.Sub<double>>, kind, r.Destination(0, 64), r.Source(1, 64), r.Source(2, 64), flops: 1);
                break;
            case "mul":
                r.Emit(&Vector2Wide<Mul64>, kind, r.Destination(0, 64), r.Source(1, 64), r.Source(2, 64), flops: 1);
                break;
            case "div":
                r.Emit(&Vector2Wide<Div64>, kind, r.Destination(0, 64), r.Source(1, 64), r.Source(2, 64), flops: 1);
                break;
            case "fma" or "mad":
                r.Emit(&Lanes64x3, kind, r.Destination(0, 64), r.Source(1, 64), r.Source(2, 64), r.Source(3, 64), flops: 2);
                break;
            case "min":
                r.Emit(&Vector2Wide<Min64>, kind, r.Destination(0, 64), r.Source(1, 64), r.Source(2, 64), flops: 1);
                break;
            case "max":
                r.Emit(&Vector2Wide<Max64>, kind, r.Destination(0, 64), r.Source(1, 64), r.Source(2, 64), flops: 1);
                break;
            case "abs":
                r.Emit(&Shell.Lanes1<Abs64, ulong, ulong>, kind, r.Destination(0, 64), r.Source(1, 64));
                break;
            case "neg":
                r.Emit(&Shell.Lanes1<Neg64, ulong, ulong>, kind, r.Destination(0, 64), r.Source(1, 64));
                break;
            default:
                throw r.Error($"{opcode} of f64 is not known to the emulator");
        }
    }

    /// <summary>The one NaN that arithmetic gives.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> OneNaN(Vector512<float> value) =>
        Vector512.ConditionalSelect(Vector512.Equals(value, value), value, Vector512.Create(0x7fffffffu).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Flush(Vector512<float> value)
    {
        Vector512<float> tiny = Vector512.LessThan(Vector512.Abs(value), Vector512.Create(1.17549435e-38f));
        return Vector512.ConditionalSelect(tiny, value & Vector512.Create(0x80000000u).AsSingle(), value);
    }

    /// <summary>Subnormals become zeros of their sign.</summary>
    public static float Flush(float value) =>
        Math.Abs(value) < 1.17549435e-38f ? BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(value) & 0x80000000) : value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Finish(Vector512<float> value, int flags)
    {
        value = OneNaN(value);
        if (flags == 0) return value;
        if ((flags & Ftz) != 0) value = Flush(value);
        if ((flags & Sat) != 0)
        {
            // Below zero and NaN give +0.
            Vector512<float> positive = Vector512.GreaterThan(value, Vector512<float>.Zero);
            value = Vector512.ConditionalSelect(positive,
                Vector512.ConditionalSelect(Vector512.GreaterThan(value, Vector512<float>.One), Vector512<float>.One, value),
                    Vector512<float>.Zero);
        }
        return value;
    }

    private static void Special(
        Dictionary<string, Action<InstructionReader>> table, string opcode,
        delegate*<Warp, Op*, void> run, delegate*<Warp, Op*, void> run64) =>
        table[opcode] = r => DecodeSpecial(r, opcode, run, run64);

    private static void DecodeSpecial(InstructionReader r, string opcode, delegate*<Warp, Op*, void> run, delegate*<Warp, Op*, void> run64)
    {
        string? kind = r.OneOf("approx", "rn", "rz", "rm", "rp");
        int flags = r.Flag("ftz") ? Ftz : 0;
        PtxType type = r.Type();
        if (type is PtxType.F16 or PtxType.F16x2 or PtxType.BF16 or PtxType.BF16x2 && opcode is "ex2" or "tanh")
        {
            HalfOps.Decode(r, opcode, type);
            return;
        }
        if (opcode == "tanh") r.Requires(75);
        if (kind is "rz" or "rm" or "rp")
        {
            if (type != PtxType.F32 || opcode is not ("rcp" or "sqrt"))
                throw r.Error($"{opcode} of {type} is emulated with rounding to nearest only");
            int d = r.Destination(0, 32), a = r.Source(1, 32);
            r.Operation.Immediate = Array.IndexOf(RoundingNames, kind);
            r.Emit(opcode == "rcp" ? &Directed<ExactReciprocal> : &Directed<ExactRoot>, InstructionClass.Special, d, a, a, flops: 1,
                small: flags);
            return;
        }
        if (type == PtxType.F64)
        {
            if (run64 == null) throw r.Error($"{opcode} of f64 is not known to the emulator");
            r.Emit(run64, InstructionClass.Special, r.Destination(0, 64), r.Source(1, 64), flops: 1);
            return;
        }
        if (type != PtxType.F32) throw r.Error($"{opcode} of {type} is not known to the emulator");
        r.Emit(run, InstructionClass.Special, r.Destination(0, 32), r.Source(1, 32), flops: 1, small: flags);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Vector1<TOp>(Warp warp, Op* op)
        where TOp : struct, IVector1<float>
    {
        float* a = (float*)(warp.Frame + op->A), d = (float*)(warp.Frame + op->D);
        bool flush = (op->Small & Ftz) != 0;
        for (int i = 0; i < 32; i += 16)
        {
            Vector512<float> x = Vector512.Load(a + i);
            Shell.Store(d, i, warp.Mask, TOp.Do(flush ? Flush(x) : x));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Vector2<TOp>(Warp warp, Op* op)
        where TOp : struct, IVector2<float>
    {
        float* a = (float*)(warp.Frame + op->A), b = (float*)(warp.Frame + op->B), d = (float*)(warp.Frame + op->D);
        int flags = op->Small;
        for (int i = 0; i < 32; i += 16)
        {
            Vector512<float> x = Vector512.Load(a + i), y = Vector512.Load(b + i);
            if ((flags & Ftz) != 0) (x, y) = (Flush(x), Flush(y));
            Shell.Store(d, i, warp.Mask, Finish(TOp.Do(x, y), flags));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Vector3<TOp>(Warp warp, Op* op)
        where TOp : struct, IVector3<float>
    {
        float* a = (float*)(warp.Frame + op->A), b = (float*)(warp.Frame + op->B), c = (float*)(warp.Frame + op->C),
            d = (float*)(warp.Frame + op->D);
        int flags = op->Small;
        for (int i = 0; i < 32; i += 16)
        {
            Vector512<float> x = Vector512.Load(a + i), y = Vector512.Load(b + i), z = Vector512.Load(c + i);
            if ((flags & Ftz) != 0) (x, y, z) = (Flush(x), Flush(y), Flush(z));
            Shell.Store(d, i, warp.Mask, Finish(TOp.Do(x, y, z), flags));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Vector2Wide<TOp>(Warp warp, Op* op)
        where TOp : struct, IVector2<double>
    {
        double* a = (double*)(warp.Frame + op->A), b = (double*)(warp.Frame + op->B), d = (double*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += 8)
        {
            Vector512<double> value = TOp.Do(Vector512.Load(a + i), Vector512.Load(b + i));
            Shell.Store(d, i, warp.Mask,
                Vector512.ConditionalSelect(Vector512.Equals(value, value), value, Vector512.Create(0x7fffffffffffffffu).AsDouble()));
        }
    }

    private static void Lanes64x3(Warp warp, Op* op)
    {
        double* a = (double*)(warp.Frame + op->A), b = (double*)(warp.Frame + op->B), c = (double*)(warp.Frame + op->C),
            d = (double*)(warp.Frame + op->D);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            d[i] = OneNaN(Math.FusedMultiplyAdd(a[i], b[i], c[i]));
        }
    }

    private static double OneNaN(double value) => double.IsNaN(value) ? BitConverter.Int64BitsToDouble(long.MaxValue) : value;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Lanes<TOp>(Warp warp, Op* op)
        where TOp : struct, ILane1<float, float>
    {
        float* a = (float*)(warp.Frame + op->A), d = (float*)(warp.Frame + op->D);
        bool flush = (op->Small & Ftz) != 0;
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            float value = TOp.Do(flush ? Flush(a[i]) : a[i]);
            if (float.IsNaN(value)) value = BitConverter.UInt32BitsToSingle(0x7fffffff);
            d[i] = flush ? Flush(value) : value;
        }
    }

    private static void Lanes64<TOp>(Warp warp, Op* op)
        where TOp : struct, ILane1<double, double>
    {
        double* a = (double*)(warp.Frame + op->A), d = (double*)(warp.Frame + op->D);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            d[i] = OneNaN(TOp.Do(a[i]));
        }
    }

    /// <summary>Rounding other than to nearest: the exact result as two doubles, rounded once.</summary>
    private static void Directed<TOp>(Warp warp, Op* op)
        where TOp : struct, IExact
    {
        float* a = (float*)(warp.Frame + op->A), b = (float*)(warp.Frame + op->B), d = (float*)(warp.Frame + op->D);
        float* c = op->C >= 0 ? (float*)(warp.Frame + op->C) : b;
        bool flush = (op->Small & Ftz) != 0;
        var mode = (RoundingMode)op->Immediate;
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            (float x, float y, float z) = flush ? (Flush(a[i]), Flush(b[i]), Flush(c[i])) : (a[i], b[i], c[i]);
            (double sum, double rest) = TOp.Do(x, y, z);
            float value = Rounding.ToFloat(Rounding.Odd(sum, rest), mode);
            // An exact zero from terms of both signs is −0 when rounding down.
            if (sum == 0 && rest == 0 && mode == RoundingMode.Down && TOp.AddsBothSigns(x, y, z)) value = -0f;
            if (float.IsNaN(value)) value = BitConverter.UInt32BitsToSingle(0x7fffffff);
            if (flush) value = Flush(value);
            if ((op->Small & Sat) != 0) value = value > 0 ? Math.Min(value, 1) : 0;
            d[i] = value;
        }
    }

    private static void Test(Warp warp, Op* op)
    {
        byte* a = warp.Frame + op->A;
        uint result = 0;
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            bool wide = (op->Small & 8) != 0;
            double value = wide ? ((double*)a)[i] : ((float*)a)[i];
            bool subnormal = wide ? double.IsSubnormal(value) : float.IsSubnormal(((float*)a)[i]);
            bool yes = (op->Small & 7) switch
            {
                0 => double.IsFinite(value),
                1 => double.IsInfinity(value),
                2 => !double.IsNaN(value),
                3 => double.IsNaN(value),
                4 => double.IsFinite(value) && value != 0 && !subnormal,
                _ => subnormal,
            };
            if (yes) result |= 1u << i;
        }
        MoveOps.SetPredicate(warp, op->D, result);
    }

    private interface IExact
    {
        /// <summary>Whether the result is a sum of two terms, one negative and one positive.</summary>
        static abstract bool AddsBothSigns(float a, float b, float c);

        static abstract (double Sum, double Lost) Do(float a, float b, float c);
    }

    private struct ExactAdd : IExact
    {
        public static bool AddsBothSigns(float a, float b, float c) => float.IsNegative(a) != float.IsNegative(b);

        public static (double Sum, double Lost) Do(float a, float b, float c) => Rounding.Add(a, b);
    }

    private struct ExactSub : IExact
    {
        public static bool AddsBothSigns(float a, float b, float c) => float.IsNegative(a) == float.IsNegative(b);

        public static (double Sum, double Lost) Do(float a, float b, float c) => Rounding.Add(a, -b);
    }

    private struct ExactMul : IExact
    {
        public static bool AddsBothSigns(float a, float b, float c) => false;

        public static (double Sum, double Lost) Do(float a, float b, float c) => ((double)a * b, 0);
    }

    private struct ExactFma : IExact
    {
        public static bool AddsBothSigns(float a, float b, float c) => float.IsNegative(a) ^ float.IsNegative(b) ^ float.IsNegative(c);

        public static (double Sum, double Lost) Do(float a, float b, float c) => Rounding.Add((double)a * b, c);
    }

    private struct ExactDiv : IExact
    {
        public static bool AddsBothSigns(float a, float b, float c) => false;

        public static (double Sum, double Lost) Do(float a, float b, float c)
        {
            double quotient = (double)a / b;
            // The remainder's sign says on which side of the quotient the exact one lies.
            double rest = double.IsFinite(quotient) && float.IsFinite(b) && b != 0 ? Math.FusedMultiplyAdd(-quotient, b, a) : 0;
            return (quotient, rest == 0 ? 0 : (rest > 0) == (b > 0) ? double.Epsilon : -double.Epsilon);
        }
    }

    private struct ExactReciprocal : IExact
    {
        public static bool AddsBothSigns(float a, float b, float c) => false;

        public static (double Sum, double Lost) Do(float a, float b, float c) => ExactDiv.Do(1, a, 0);
    }

    private struct ExactRoot : IExact
    {
        public static bool AddsBothSigns(float a, float b, float c) => false;

        public static (double Sum, double Lost) Do(float a, float b, float c)
        {
            double root = Math.Sqrt(a);
            double rest = double.IsFinite(root) ? Math.FusedMultiplyAdd(-root, root, a) : 0;
            return (root, rest == 0 ? 0 : Math.CopySign(double.Epsilon, rest));
        }
    }

    private struct Mul : IVector2<float> { public static Vector512<float> Do(Vector512<float> a, Vector512<float> b) => a * b; }

    private struct Mul64 : IVector2<double> { public static Vector512<double> Do(Vector512<double> a, Vector512<double> b) => a * b; }

    private struct Div : IVector2<float> { public static Vector512<float> Do(Vector512<float> a, Vector512<float> b) => a / b; }

    private struct Div64 : IVector2<double> { public static Vector512<double> Do(Vector512<double> a, Vector512<double> b) => a / b; }

    private struct Fma : IVector3<float>
    {
        public static Vector512<float> Do(Vector512<float> a, Vector512<float> b, Vector512<float> c) =>
            Vector512.FusedMultiplyAdd(a, b, c);
    }

    private struct Min : IVector2<float>
    {
        public static Vector512<float> Do(Vector512<float> a, Vector512<float> b) => Vector512.MinNumber(a, b);
    }

    private struct Max : IVector2<float>
    {
        public static Vector512<float> Do(Vector512<float> a, Vector512<float> b) => Vector512.MaxNumber(a, b);
    }

    private struct MinNaN : IVector2<float>
    {
        public static Vector512<float> Do(Vector512<float> a, Vector512<float> b) => Vector512.Min(a, b);
    }

    private struct MaxNaN : IVector2<float>
    {
        public static Vector512<float> Do(Vector512<float> a, Vector512<float> b) => Vector512.Max(a, b);
    }

    private struct Min64 : IVector2<double>
    {
        public static Vector512<double> Do(Vector512<double> a, Vector512<double> b) => Vector512.MinNumber(a, b);
    }

    private struct Max64 : IVector2<double>
    {
        public static Vector512<double> Do(Vector512<double> a, Vector512<double> b) => Vector512.MaxNumber(a, b);
    }

    private struct Abs : IVector1<float>
    {
        public static Vector512<float> Do(Vector512<float> a) => a & Vector512.Create(0x7fffffffu).AsSingle();
    }

    private struct Neg : IVector1<float>
    {
        public static Vector512<float> Do(Vector512<float> a) => a ^ Vector512.Create(0x80000000u).AsSingle();
    }

    private struct Abs64 : ILane1<ulong, ulong> { public static ulong Do(ulong a) => a & long.MaxValue; }

    private struct Neg64 : ILane1<ulong, ulong> { public static ulong Do(ulong a) => a ^ 1ul << 63; }

    // PTX gives the second operand the sign of the first.
    private struct CopySign : ILane2<float, float, float> { public static float Do(float a, float b) => MathF.CopySign(b, a); }

    private struct CopySign64 : ILane2<double, double, double> { public static double Do(double a, double b) => Math.CopySign(b, a); }

    private struct Reciprocal : ILane1<float, float> { public static float Do(float a) => 1 / a; }

    private struct Reciprocal64 : ILane1<double, double> { public static double Do(double a) => 1 / a; }

    private struct SquareRoot : ILane1<float, float> { public static float Do(float a) => MathF.Sqrt(a); }

    private struct SquareRoot64 : ILane1<double, double> { public static double Do(double a) => Math.Sqrt(a); }

    private struct ReciprocalRoot : ILane1<float, float>
    {
        public static float Do(float a) => a == 0 ? MathF.CopySign(float.PositiveInfinity, a) : (float)(1 / Math.Sqrt(a));
    }

    private struct ReciprocalRoot64 : ILane1<double, double>
    {
        public static double Do(double a) => a == 0 ? Math.CopySign(double.PositiveInfinity, a) : 1 / Math.Sqrt(a);
    }

    private struct Sine : ILane1<float, float> { public static float Do(float a) => (float)Math.Sin(a); }

    private struct Cosine : ILane1<float, float> { public static float Do(float a) => (float)Math.Cos(a); }

    private struct Log2 : ILane1<float, float> { public static float Do(float a) => (float)Math.Log2(a); }

    private struct Exp2 : ILane1<float, float> { public static float Do(float a) => (float)Math.Pow(2, a); }

    private struct Tanh : ILane1<float, float> { public static float Do(float a) => (float)Math.Tanh(a); }
}
