using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary><c>cvt</c>: vectors for the conversions that kernels are full of, one lane at a time for all others.</summary>
internal static unsafe class ConvertOps
{
    private const InstructionClass Kind = InstructionClass.Conversion;

    private static readonly string[] FloatRounding = ["rn", "rz", "rm", "rp", "rna"];
    private static readonly string[] IntegerRounding = ["rni", "rzi", "rmi", "rpi"];

    public static void Register(Dictionary<string, Action<InstructionReader>> table) => table["cvt"] = Decode;

    private static void Decode(InstructionReader r)
    {
        string? rounding = r.OneOf([.. FloatRounding, .. IntegerRounding]);
        bool ftz = r.Flag("ftz"), sat = r.Flag("sat"), relu = r.Flag("relu");
        PtxType to = r.Type(), from = r.Type();
        int at = Array.IndexOf(FloatRounding, rounding), integral = Array.IndexOf(IntegerRounding, rounding);
        var mode = (RoundingMode)Math.Max(0, Math.Max(at, integral));
        if (to is PtxType.F16x2 or PtxType.BF16x2)
        {
            if (from != PtxType.F32) throw r.Error("packed conversions take f32");
            r.Requires(80);
            if (sat) throw r.Error("packed conversions with .sat are not emulated");
            bool brain = to == PtxType.BF16x2;
            int small = (int)mode | (brain ? 16 : 0) | (relu ? 32 : 0);
            r.Emit(mode == RoundingMode.Nearest ? brain ? &PackBrain : &PackHalf : &PackLanes, Kind, r.Destination(0, 32), r.Source(1, 32),
                r.Source(2, 32), small: small);
            return;
        }
        if (to == PtxType.TF32)
        {
            r.Requires(80);
            if (from != PtxType.F32) throw r.Error("tf32 comes from f32");
            r.Emit(&ToTf32, Kind, r.Destination(0, 32), r.Source(1, 32), small: (int)(rounding is null ? RoundingMode.NearestAway : mode)
                | (relu ? 32 : 0));
            return;
        }
        int d = r.Destination(0, to.Bytes() * 8 is 8 ? 16 : to.Bytes() * 8, widerAllowed: true);
        int a = r.Source(1, from.Bytes() * 8 is 8 ? 16 : from.Bytes() * 8, widerAllowed: true);
        int targetBits = BitsOf(r, 0), sourceBits = BitsOf(r, 1);
        bool plain = !ftz && !sat && !relu;
        delegate*<Warp, Op*, void> run = null;
        if (to.IsFloat() || from.IsFloat())
        {
            bool nearest = rounding is null or "rn";
            if (to == PtxType.BF16 || from == PtxType.BF16) r.Requires(from == PtxType.BF16 ? 90 : 80);
            if (to.IsFloat() && to.Bytes() < from.Bytes() && from.IsFloat() && rounding is null)
                throw r.Error("a narrowing conversion needs a rounding modifier");
            if (plain)
            {
                run = (to, from) switch
                {
                    (PtxType.F32, PtxType.F16) => &HalfToFloat,
                    (PtxType.F16, PtxType.F32) when nearest => &FloatToHalf,
                    (PtxType.F32, PtxType.BF16) => &BrainToFloat,
                    (PtxType.BF16, PtxType.F32) when nearest => &FloatToBrain,
                    (PtxType.F32, PtxType.S32) when nearest => &SignedToFloat,
                    (PtxType.F32, PtxType.U32) when nearest => &UnsignedToFloat,
                    (PtxType.S32, PtxType.F32) when rounding == "rzi" && targetBits == 32 => &FloatToSignedTruncated,
                    (PtxType.S32, PtxType.F32) when rounding == "rni" && targetBits == 32 => &FloatToSignedNearest,
                    _ => null,
                };
            }
        }
        else if (plain)
        {
            int toBits = to.Bytes() * 8, fromBits = from.Bytes() * 8;
            run = (toBits, fromBits, from.IsSigned()) switch
            {
                (64, 32, false) when sourceBits == 32 => &WidenUnsigned,
                (64, 32, true) when sourceBits == 32 => &WidenSigned,
                (32, 64, _) when targetBits == 32 => &Narrow,
                (32, 16, false) when sourceBits == 16 && targetBits == 32 => &MoveOps.Copy<uint>,
                (16, 32, _) when sourceBits == 32 && targetBits == 16 => &Low16,
                _ => null,
            };
        }
        r.Operation.Immediate = (long)to | (long)from << 8 | (long)mode << 16 | (integral >= 0 ? 1L << 24 : 0) | (ftz ? 1L << 25 : 0)
            | (sat ? 1L << 26 : 0)
            | (relu ? 1L << 27 : 0) | (targetBits == 64 ? 1L << 28 : 0) | (sourceBits == 64 ? 1L << 29 : 0)
                | (targetBits == 16 ? 1L << 30 : 0);
        r.Emit(run == null ? &Lanes : run, Kind, d, a);
    }

    private static int BitsOf(InstructionReader r, int operand) =>
        r.Operand(operand) is { Kind: OperandKind.Register, Register: { } register } ? register.Type.Bytes() * 8
            : Math.Max(16, r.Instruction.Modifiers.Select(m => PtxTypes.TryParse(m, out PtxType t) ? t.Bytes() * 8 : 0).Last());

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void WidenUnsigned(Warp warp, Op* op)
    {
        var a = (uint*)(warp.Frame + op->A);
        var d = (ulong*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += 16)
        {
            (Vector512<ulong> low, Vector512<ulong> high) = Vector512.Widen(Vector512.Load(a + i));
            Shell.Store(d, i, warp.Mask, low);
            Shell.Store(d, i + 8, warp.Mask, high);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void WidenSigned(Warp warp, Op* op)
    {
        var a = (int*)(warp.Frame + op->A);
        var d = (long*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += 16)
        {
            (Vector512<long> low, Vector512<long> high) = Vector512.Widen(Vector512.Load(a + i));
            Shell.Store(d, i, warp.Mask, low);
            Shell.Store(d, i + 8, warp.Mask, high);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Narrow(Warp warp, Op* op)
    {
        var a = (ulong*)(warp.Frame + op->A);
        var d = (uint*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += 16) Shell.Store(d, i, warp.Mask, Vector512.Narrow(Vector512.Load(a + i), Vector512.Load(a + i + 8)));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Low16(Warp warp, Op* op)
    {
        uint* a = (uint*)(warp.Frame + op->A), d = (uint*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += 16) Shell.Store(d, i, warp.Mask, Vector512.Load(a + i) & Vector512.Create(0xffffu));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void HalfToFloat(Warp warp, Op* op)
    {
        uint* a = (uint*)(warp.Frame + op->A), d = (uint*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += 16) Shell.Store(d, i, warp.Mask, FloatOps.OneNaN(HalfOps.ToFloat(Vector512.Load(a + i))).AsUInt32());
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FloatToHalf(Warp warp, Op* op)
    {
        float* a = (float*)(warp.Frame + op->A);
        var d = (uint*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += 16) Shell.Store(d, i, warp.Mask, HalfOps.FromFloat(Vector512.Load(a + i)));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void BrainToFloat(Warp warp, Op* op)
    {
        uint* a = (uint*)(warp.Frame + op->A), d = (uint*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += 16) Shell.Store(d, i, warp.Mask, FloatOps.OneNaN((Vector512.Load(a + i) << 16).AsSingle()).AsUInt32());
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FloatToBrain(Warp warp, Op* op)
    {
        float* a = (float*)(warp.Frame + op->A);
        var d = (uint*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += 16) Shell.Store(d, i, warp.Mask, Brain(Vector512.Load(a + i)));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Brain(Vector512<float> value)
    {
        Vector512<uint> bits = value.AsUInt32();
        Vector512<uint> rounded = (bits + Vector512.Create(0x7fffu) + ((bits >>> 16) & Vector512<uint>.One)) >>> 16;
        return Vector512.ConditionalSelect(Vector512.Equals(value, value).AsUInt32(), rounded, Vector512.Create(0x7fffu));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SignedToFloat(Warp warp, Op* op)
    {
        var a = (int*)(warp.Frame + op->A);
        var d = (float*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += 16) Shell.Store(d, i, warp.Mask, Vector512.ConvertToSingle(Vector512.Load(a + i)));
    }

    private static void UnsignedToFloat(Warp warp, Op* op)
    {
        var a = (uint*)(warp.Frame + op->A);
        var d = (float*)(warp.Frame + op->D);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            d[i] = (float)(double)a[i];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FloatToSignedTruncated(Warp warp, Op* op)
    {
        var a = (float*)(warp.Frame + op->A);
        var d = (int*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += 16) Shell.Store(d, i, warp.Mask, Vector512.ConvertToInt32(Vector512.Load(a + i)));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FloatToSignedNearest(Warp warp, Op* op)
    {
        var a = (float*)(warp.Frame + op->A);
        var d = (int*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += 16)
            Shell.Store(d, i, warp.Mask, Vector512.ConvertToInt32(Vector512.Round(Vector512.Load(a + i), MidpointRounding.ToEven)));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackHalf(Warp warp, Op* op)
    {
        float* a = (float*)(warp.Frame + op->A), b = (float*)(warp.Frame + op->B);
        var d = (uint*)(warp.Frame + op->D);
        bool relu = (op->Small & 32) != 0;
        for (int i = 0; i < 32; i += 16)
        {
            Vector512<float> x = Vector512.Load(a + i), y = Vector512.Load(b + i);
            if (relu) (x, y) = (Relu(x), Relu(y));
            Shell.Store(d, i, warp.Mask, HalfOps.FromFloat(x) << 16 | HalfOps.FromFloat(y));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackBrain(Warp warp, Op* op)
    {
        float* a = (float*)(warp.Frame + op->A), b = (float*)(warp.Frame + op->B);
        var d = (uint*)(warp.Frame + op->D);
        bool relu = (op->Small & 32) != 0;
        for (int i = 0; i < 32; i += 16)
        {
            Vector512<float> x = Vector512.Load(a + i), y = Vector512.Load(b + i);
            if (relu) (x, y) = (Relu(x), Relu(y));
            Shell.Store(d, i, warp.Mask, Brain(x) << 16 | Brain(y));
        }
    }

    private static Vector512<float> Relu(Vector512<float> value) =>
        Vector512.ConditionalSelect(Vector512.LessThanOrEqual(value, Vector512<float>.Zero), Vector512<float>.Zero, value);

    private static void PackLanes(Warp warp, Op* op)
    {
        float* a = (float*)(warp.Frame + op->A), b = (float*)(warp.Frame + op->B);
        var d = (uint*)(warp.Frame + op->D);
        var mode = (RoundingMode)(op->Small & 15);
        bool brain = (op->Small & 16) != 0, relu = (op->Small & 32) != 0;
        uint One(float value)
        {
            if (relu && value <= 0) value = 0;
            return brain ? Rounding.ToBFloat(value, mode) : Rounding.ToHalf(value, mode);
        }
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            d[i] = One(a[i]) << 16 | One(b[i]);
        }
    }

    private static void ToTf32(Warp warp, Op* op)
    {
        uint* a = (uint*)(warp.Frame + op->A), d = (uint*)(warp.Frame + op->D);
        var mode = (RoundingMode)(op->Small & 15);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            float value = BitConverter.UInt32BitsToSingle(a[i]);
            if ((op->Small & 32) != 0 && value <= 0) value = 0;
            d[i] = float.IsNaN(value) ? 0x7fffffff : BitConverter.SingleToUInt32Bits((float)Rounding.ToFormat(value, 11, -126, 127, mode));
        }
    }

    private static void Lanes(Warp warp, Op* op)
    {
        long code = op->Immediate;
        PtxType to = (PtxType)(code & 255), from = (PtxType)(code >> 8 & 255);
        byte* a = warp.Frame + op->A, d = warp.Frame + op->D;
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            ulong raw = (code & 1 << 29) != 0 ? ((ulong*)a)[i] : ((uint*)a)[i];
            ulong result = One(raw, to, from, (RoundingMode)(code >> 16 & 255), (code & 1 << 24) != 0, (code & 1 << 25) != 0,
                (code & 1 << 26) != 0, (code & 1 << 27) != 0);
            if ((code & 1 << 28) != 0) ((ulong*)d)[i] = result;
            else ((uint*)d)[i] = (code & 1 << 30) != 0 ? (ushort)result : (uint)result;
        }
    }

    private static ulong One(ulong raw, PtxType to, PtxType from, RoundingMode mode, bool integral, bool ftz, bool sat, bool relu)
    {
        if (!from.IsFloat())
        {
            Int128 value = from switch
            {
                PtxType.U8 => (byte)raw,
                PtxType.S8 => (sbyte)raw,
                PtxType.U16 => (ushort)raw,
                PtxType.S16 => (short)raw,
                PtxType.U32 => (uint)raw,
                PtxType.S32 => (int)raw,
                PtxType.S64 => (long)raw,
                _ => raw,
            };
            if (!to.IsFloat())
            {
                if (sat) value = Int128.Clamp(value, Low(to), High(to));
                return Extend(value, to);
            }
            // Two doubles hold any 64-bit integer.
            double high = (double)(long)(value >> 32) * 4294967296.0, low = (uint)(ulong)(value & uint.MaxValue);
            (double sum, double rest) = Rounding.Add(high, low);
            if (to == PtxType.F64)
                return BitConverter.DoubleToUInt64Bits(mode == RoundingMode.Nearest || rest == 0 ? sum : Directed(sum, rest, mode));
            return ToFloat(Rounding.Odd(sum, rest), to, mode, sat, relu, false);
        }
        double x = from switch
        {
            PtxType.F16 => Rounding.FromHalf((uint)raw),
            PtxType.BF16 => Rounding.FromBFloat((uint)raw & 0xffff),
            PtxType.F32 => ftz ? FloatOps.Flush(BitConverter.UInt32BitsToSingle((uint)raw)) : BitConverter.UInt32BitsToSingle((uint)raw),
            _ => BitConverter.UInt64BitsToDouble(raw),
        };
        if (to.IsFloat()) return ToFloat(integral ? Integral(x, mode) : x, to, mode, sat, relu, ftz);
        if (double.IsNaN(x)) return from == PtxType.F64 || to.Bytes() == 8 ? 1ul << (to.Bytes() * 8 - 1) : 0;
        x = Rounding.ToIntegral(x, mode);
        Int128 rounded = x >= 1.8446744073709552e19 ? High(PtxType.U64) : x < -9.2233720368547758e18 ? Low(PtxType.S64) : (Int128)x;
        return Extend(Int128.Clamp(rounded, Low(to), High(to)), to);
    }

    private static double Integral(double x, RoundingMode mode) =>
        Rounding.ToIntegral(x, mode) is 0 ? Math.CopySign(0, x) : Rounding.ToIntegral(x, mode);

    private static double Directed(double sum, double rest, RoundingMode mode)
    {
        bool up = mode == RoundingMode.Up || (mode == RoundingMode.TowardZero && sum < 0);
        if (up) return rest > 0 ? Math.BitIncrement(sum) : sum;
        return rest < 0 ? Math.BitDecrement(sum) : sum;
    }

    private static ulong ToFloat(double x, PtxType to, RoundingMode mode, bool sat, bool relu, bool ftz)
    {
        if (sat) x = x > 0 ? Math.Min(x, 1) : 0;
        if (relu && x <= 0) x = 0;
        switch (to)
        {
            case PtxType.F16:
                return Rounding.ToHalf(x, mode);
            case PtxType.BF16:
                return Rounding.ToBFloat(x, mode);
            case PtxType.F64:
                return double.IsNaN(x) ? long.MaxValue : BitConverter.DoubleToUInt64Bits(x);
            default:
                if (double.IsNaN(x)) return 0x7fffffff;
                float value = Rounding.ToFloat(x, mode);
                return BitConverter.SingleToUInt32Bits(ftz ? FloatOps.Flush(value) : value);
        }
    }

    private static ulong Extend(Int128 value, PtxType to) => to switch
    {
        PtxType.U8 => (byte)value,
        PtxType.S8 => (ulong)(sbyte)value,
        PtxType.U16 => (ushort)value,
        PtxType.S16 => (ulong)(short)value,
        PtxType.U32 => (uint)value,
        PtxType.S32 => (ulong)(int)value,
        _ => (ulong)value,
    };

    private static Int128 Low(PtxType type) => type.IsSigned() ? -(Int128.One << (type.Bytes() * 8 - 1)) : 0;

    private static Int128 High(PtxType type) => (Int128.One << (type.Bytes() * 8 - (type.IsSigned() ? 1 : 0))) - 1;
}
