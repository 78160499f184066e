using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary>Integer arithmetic.</summary>
internal static unsafe class IntegerOps
{
    private const InstructionClass Kind = InstructionClass.Integer;

    public static void Register(Dictionary<string, Action<InstructionReader>> table)
    {
        table["addc"] = r => Carrying(r, "addc", CarryType(r, out bool cc), cc);
        table["subc"] = r => Carrying(r, "subc", CarryType(r, out bool cc), cc);
        table["madc"] = r => Carrying(r, "madc", CarryType(r, out bool cc), cc);
        table["sad"] = r =>
        {
            PtxType type = r.Type();
            if (type.Bytes() != 4) throw r.Error("only 32-bit sums of differences are emulated");
            Ternary(r, 32, type.IsSigned() ? &Shell.Lanes3<SadSigned, int, int, uint, uint> : &Shell.Lanes3<SadUnsigned, uint, uint, uint,
                uint>);
        };
        table["mul24"] = r =>
        {
            bool high = r.OneOf("lo", "hi") == "hi";
            PtxType type = r.Type();
            if (high) throw r.Error("mul24.hi is not emulated");
            Binary(r, 32, type.IsSigned() ? &Shell.Lanes2<Mul24Signed, int, int, int> : &Shell.Lanes2<Mul24Unsigned, uint, uint, uint>);
        };
        table["mad24"] = r =>
        {
            bool high = r.OneOf("lo", "hi") == "hi";
            PtxType type = r.Type();
            if (high) throw r.Error("mad24.hi is not emulated");
            Ternary(r, 32, type.IsSigned() ? &Shell.Lanes3<Mad24Signed, int, int, int, int> : &Shell.Lanes3<Mad24Unsigned, uint, uint, uint,
                uint>);
        };
        table["dp4a"] = r =>
        {
            PtxType a = r.Type(), b = r.Type();
            bool sa = a.IsSigned(), sb = b.IsSigned();
            Ternary(r, 32, sa ? sb ? &Shell.Lanes3<Dp4a<On, On>, uint, uint, uint, uint> : &Shell.Lanes3<Dp4a<On, Off>, uint, uint, uint,
                uint>
                : sb ? &Shell.Lanes3<Dp4a<Off, On>, uint, uint, uint, uint> : &Shell.Lanes3<Dp4a<Off, Off>, uint, uint, uint, uint>);
        };
    }

    public static void Decode(InstructionReader r, string opcode, PtxType type)
    {
        if (!type.IsInteger() && !(opcode is "add" or "sub" && type.IsUntyped()))
            throw r.Error($"{opcode} of {type} is not known to the emulator");
        bool signed = type.IsSigned();
        int bits = type.Bytes() * 8;
        switch (opcode)
        {
            case "add":
                if (r.Flag("sat")) Binary(r, 32, Only32(r, type, &Shell.Lanes2<AddSaturated, int, int, int>));
                else Binary(r, bits, Pick(r, bits, &Shell.Vector2<Add<uint>, uint>, &Shell.Vector2<Add<ulong>, ulong>,
                    &Shell.Lanes2<Low16<AddLane>, uint, uint, uint>));
                break;
            case "sub":
                if (r.Flag("sat")) Binary(r, 32, Only32(r, type, &Shell.Lanes2<SubSaturated, int, int, int>));
                else Binary(r, bits, Pick(r, bits, &Shell.Vector2<Sub<uint>, uint>, &Shell.Vector2<Sub<ulong>, ulong>,
                    &Shell.Lanes2<Low16<SubLane>, uint, uint, uint>));
                break;
            case "mul":
                Multiply(r, type);
                break;
            case "mad":
                MultiplyAdd(r, type);
                break;
            case "div":
                Binary(r, bits, signed
                    ? Pick(r, bits, &Shell.Lanes2<DivSigned, int, int, int>, &Shell.Lanes2<DivSigned64, long, long, long>,
                        &Shell.Lanes2<Low16Signed<DivSigned>, uint, uint, uint>)
                    : Pick(r, bits, &Shell.Lanes2<DivUnsigned, uint, uint, uint>, &Shell.Lanes2<DivUnsigned64, ulong, ulong, ulong>,
                        &Shell.Lanes2<Low16<DivUnsigned>, uint, uint, uint>));
                break;
            case "rem":
                Binary(r, bits, signed
                    ? Pick(r, bits, &Shell.Lanes2<RemSigned, int, int, int>, &Shell.Lanes2<RemSigned64, long, long, long>,
                        &Shell.Lanes2<Low16Signed<RemSigned>, uint, uint, uint>)
                    : Pick(r, bits, &Shell.Lanes2<RemUnsigned, uint, uint, uint>, &Shell.Lanes2<RemUnsigned64, ulong, ulong, ulong>,
                        &Shell.Lanes2<Low16<RemUnsigned>, uint, uint, uint>));
                break;
            case "min":
                Binary(r, bits, signed
                    ? Pick(r, bits, &Shell.Vector2<Min<int>, int>, &Shell.Vector2<Min<long>, long>, &Shell.Lanes2<Low16Signed<MinLane>,
                        uint, uint, uint>)
                    : Pick(r, bits, &Shell.Vector2<Min<uint>, uint>, &Shell.Vector2<Min<ulong>, ulong>, &Shell.Vector2<Min<uint>, uint>));
                break;
            case "max":
                Binary(r, bits, signed
                    ? Pick(r, bits, &Shell.Vector2<Max<int>, int>, &Shell.Vector2<Max<long>, long>, &Shell.Lanes2<Low16Signed<MaxLane>,
                        uint, uint, uint>)
                    : Pick(r, bits, &Shell.Vector2<Max<uint>, uint>, &Shell.Vector2<Max<ulong>, ulong>, &Shell.Vector2<Max<uint>, uint>));
                break;
            case "abs":
                Unary(r, bits, Pick(r, bits, &Shell.Vector1<Abs<int>, int>, &Shell.Vector1<Abs<long>, long>, &Shell.Lanes1<Abs16, uint,
                    uint>));
                break;
            case "neg":
                Unary(r, bits, Pick(r, bits, &Shell.Vector1<Neg<uint>, uint>, &Shell.Vector1<Neg<ulong>, ulong>, &Shell.Lanes1<Neg16, uint,
                    uint>));
                break;
            default:
                throw r.Error($"{opcode} of {type} is not known to the emulator");
        }
    }

    /// <summary>Extended-precision arithmetic: the carry flag is a predicate that each lane has.</summary>
    public static void Carrying(InstructionReader r, string opcode, PtxType type, bool setsCarry)
    {
        int bits = type.Bytes() * 8;
        if (bits is not (32 or 64)) throw r.Error("carries are emulated for 32 and 64 bits");
        bool multiply = opcode is "mad" or "madc", high = multiply && r.OneOf("lo", "hi") == "hi";
        int d = r.Destination(0, bits), a = r.Source(1, bits), b = r.Source(2, bits), c = multiply ? r.Source(3, bits) : -1;
        bool usesCarry = opcode.EndsWith('c');
        int carry = r.Translator.Carry();
        if (usesCarry) r.Read(carry);
        if (setsCarry)
        {
            r.Write(carry);
            r.Read(carry);
        }
        int small = (usesCarry ? 1 : 0) | (setsCarry ? 2 : 0) | (opcode.StartsWith("sub", StringComparison.Ordinal) ? 4 : 0)
            | (high ? 8 : 0) | (type.IsSigned() ? 16 : 0);
        r.Operation.E = carry;
        r.Emit(bits == 32 ? &Carry32 : &Carry64, Kind, d, a, b, c, small: small);
    }

    private static PtxType CarryType(InstructionReader r, out bool cc)
    {
        cc = r.Flag("cc");
        return r.Type();
    }

    private static void Carry32(Warp warp, Op* op)
    {
        uint* a = (uint*)(warp.Frame + op->A), b = (uint*)(warp.Frame + op->B), d = (uint*)(warp.Frame + op->D);
        uint* c = op->C >= 0 ? (uint*)(warp.Frame + op->C) : null;
        uint* carry = (uint*)(warp.Frame + op->E);
        uint flags = *carry;
        int small = op->Small;
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            ulong x = a[i], y = b[i], carried = (small & 1) != 0 ? flags >> i & 1 : 0;
            if (c != null)
            {
                ulong product = (small & 16) != 0 ? (ulong)((long)(int)a[i] * (int)b[i]) : x * y;
                (x, y) = ((small & 8) != 0 ? product >> 32 : (uint)product, c[i]);
            }
            ulong sum = (small & 4) != 0 ? x - y - carried : x + y + carried;
            d[i] = (uint)sum;
            if ((small & 2) == 0) continue;
            flags = (flags & ~(1u << i)) | ((uint)(sum >> 32 & 1) << i);
        }
        *carry = flags;
    }

    private static void Carry64(Warp warp, Op* op)
    {
        ulong* a = (ulong*)(warp.Frame + op->A), b = (ulong*)(warp.Frame + op->B), d = (ulong*)(warp.Frame + op->D);
        ulong* c = op->C >= 0 ? (ulong*)(warp.Frame + op->C) : null;
        uint* carry = (uint*)(warp.Frame + op->E);
        uint flags = *carry;
        int small = op->Small;
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            UInt128 x = a[i], y = b[i], carried = (small & 1) != 0 ? flags >> i & 1 : 0;
            if (c != null)
            {
                UInt128 product = (small & 16) != 0 ? (UInt128)((Int128)(long)a[i] * (long)b[i]) : x * y;
                (x, y) = ((small & 8) != 0 ? (ulong)(product >> 64) : (ulong)product, c[i]);
            }
            UInt128 sum = (small & 4) != 0 ? x - y - carried : x + y + carried;
            d[i] = (ulong)sum;
            if ((small & 2) == 0) continue;
            flags = (flags & ~(1u << i)) | ((uint)((ulong)(sum >> 64) & 1) << i);
        }
        *carry = flags;
    }

    private static void Multiply(InstructionReader r, PtxType type)
    {
        bool signed = type.IsSigned();
        int bits = type.Bytes() * 8;
        switch (r.OneOf("lo", "hi", "wide"))
        {
            case "lo":
                Binary(r, bits, Pick(r, bits, &Shell.Vector2<Mul<uint>, uint>, &Shell.Vector2<Mul<ulong>, ulong>,
                    &Shell.Lanes2<Low16<MulLane>, uint, uint, uint>));
                break;
            case "hi":
                Binary(r, bits, signed
                    ? Pick(r, bits, &Shell.Lanes2<MulHighSigned, int, int, int>, &Shell.Lanes2<MulHighSigned64, long, long, long>,
                        &Shell.Lanes2<MulHighSigned16, uint, uint, uint>)
                    : Pick(r, bits, &Shell.Lanes2<MulHigh, uint, uint, uint>, &Shell.Lanes2<MulHigh64, ulong, ulong, ulong>,
                        &Shell.Lanes2<MulHigh16, uint, uint, uint>));
                break;
            case "wide" when bits == 32:
                r.Emit(signed ? &WideMultiplySigned : &WideMultiplyUnsigned, Kind, r.Destination(0, 64), r.Source(1, 32), r.Source(2, 32));
                break;
            case "wide" when bits == 16:
                r.Emit(signed ? &Shell.Lanes2<MulWideSigned16, uint, uint, uint> : &Shell.Lanes2<MulLane, uint, uint, uint>, Kind,
                    r.Destination(0, 32), r.Source(1, 16), r.Source(2, 16));
                break;
            default:
                throw r.Error("an integer multiplication needs .lo, .hi or .wide");
        }
    }

    private static void MultiplyAdd(InstructionReader r, PtxType type)
    {
        bool signed = type.IsSigned();
        int bits = type.Bytes() * 8;
        string? part = r.OneOf("lo", "hi", "wide");
        if (part == "wide")
        {
            if (bits == 32)
                r.Emit(signed ? &Shell.Lanes3<MadWideSigned, int, int, long, long> : &Shell.Lanes3<MadWide, uint, uint, ulong, ulong>, Kind,
                    r.Destination(0, 64), r.Source(1, 32), r.Source(2, 32), r.Source(3, 64));
            else if (bits == 16)
                r.Emit(signed ? &Shell.Lanes3<MadWideSigned16, uint, uint, uint, uint> : &Shell.Lanes3<MadLane, uint, uint, uint, uint>,
                    Kind, r.Destination(0, 32), r.Source(1, 16), r.Source(2, 16), r.Source(3, 32));
            else throw r.Error("mad.wide takes 16 or 32 bits");
            return;
        }
        if (part == "lo")
            Ternary(r, bits, Pick(r, bits, &Shell.Vector3<Mad<uint>, uint>, &Shell.Vector3<Mad<ulong>, ulong>, &Shell.Lanes3<Mad16, uint,
                uint, uint, uint>));
        else if (part == "hi" && bits == 32 && !r.Flag("sat"))
            Ternary(r, 32, signed ? &Shell.Lanes3<MadHighSigned, int, int, int, int> : &Shell.Lanes3<MadHigh, uint, uint, uint, uint>);
        else if (part == "hi" && bits == 64)
            Ternary(r, 64, signed ? &Shell.Lanes3<MadHighSigned64, long, long, long, long> : &Shell.Lanes3<MadHigh64, ulong, ulong, ulong,
                ulong>);
        else throw r.Error("this form of mad is not known to the emulator");
    }

    private static void Unary(InstructionReader r, int bits, delegate*<Warp, Op*, void> run) =>
        r.Emit(run, Kind, r.Destination(0, bits), r.Source(1, bits));

    private static void Binary(InstructionReader r, int bits, delegate*<Warp, Op*, void> run) =>
        r.Emit(run, Kind, r.Destination(0, bits), r.Source(1, bits), r.Source(2, bits));

    private static void Ternary(InstructionReader r, int bits, delegate*<Warp, Op*, void> run) =>
        r.Emit(run, Kind, r.Destination(0, bits), r.Source(1, bits), r.Source(2, bits), r.Source(3, bits));

    private static delegate*<Warp, Op*, void> Pick(InstructionReader r, int bits, delegate*<Warp, Op*, void> for32, delegate*<Warp, Op*, void> for64, delegate*<Warp, Op*, void> for16) =>
        bits switch
    {
        16 => for16,
        32 => for32,
        64 => for64,
        _ => throw r.Error($"integer arithmetic of {bits} bits is not known to the emulator"),
    };

    private static delegate*<Warp, Op*, void> Only32(InstructionReader r, PtxType type, delegate*<Warp, Op*, void> run) =>
        type == PtxType.S32 ? run : throw r.Error(".sat goes with .s32 only");

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void WideMultiplySigned(Warp warp, Op* op)
    {
        int* a = (int*)(warp.Frame + op->A), b = (int*)(warp.Frame + op->B);
        var d = (long*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += 16)
        {
            (Vector512<long> a0, Vector512<long> a1) = Vector512.Widen(Vector512.Load(a + i));
            (Vector512<long> b0, Vector512<long> b1) = Vector512.Widen(Vector512.Load(b + i));
            Shell.Store(d, i, warp.Mask, a0 * b0);
            Shell.Store(d, i + 8, warp.Mask, a1 * b1);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void WideMultiplyUnsigned(Warp warp, Op* op)
    {
        uint* a = (uint*)(warp.Frame + op->A), b = (uint*)(warp.Frame + op->B);
        var d = (ulong*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += 16)
        {
            (Vector512<ulong> a0, Vector512<ulong> a1) = Vector512.Widen(Vector512.Load(a + i));
            (Vector512<ulong> b0, Vector512<ulong> b1) = Vector512.Widen(Vector512.Load(b + i));
            Shell.Store(d, i, warp.Mask, a0 * b0);
            Shell.Store(d, i + 8, warp.Mask, a1 * b1);
        }
    }

    internal interface IFlag
    {
        static abstract bool Value { get; }
    }

    internal struct On : IFlag
    {
        public static bool Value => true;
    }

    internal struct Off : IFlag
    {
        public static bool Value => false;
    }

    internal struct Add<T> : IVector2<T> { public static Vector512<T> Do(Vector512<T> a, Vector512<T> b) => a + b; }

    internal struct Sub<T> : IVector2<T> { public static Vector512<T> Do(Vector512<T> a, Vector512<T> b) => a - b; }

    private struct Mul<T> : IVector2<T> { public static Vector512<T> Do(Vector512<T> a, Vector512<T> b) => a * b; }

    private struct Mad<T> : IVector3<T> { public static Vector512<T> Do(Vector512<T> a, Vector512<T> b, Vector512<T> c) => a * b + c; }

    private struct Min<T> : IVector2<T> { public static Vector512<T> Do(Vector512<T> a, Vector512<T> b) => Vector512.Min(a, b); }

    private struct Max<T> : IVector2<T> { public static Vector512<T> Do(Vector512<T> a, Vector512<T> b) => Vector512.Max(a, b); }

    private struct Abs<T> : IVector1<T> { public static Vector512<T> Do(Vector512<T> a) => Vector512.Abs(a); }

    private struct Neg<T> : IVector1<T> { public static Vector512<T> Do(Vector512<T> a) => -a; }

    private struct Low16<TOp> : ILane2<uint, uint, uint>
        where TOp : struct, ILane2<uint, uint, uint>
    {
        public static uint Do(uint a, uint b) => (ushort)TOp.Do(a, b);
    }

    private struct Low16Signed<TOp> : ILane2<uint, uint, uint>
        where TOp : struct, ILane2<int, int, int>
    {
        public static uint Do(uint a, uint b) => (ushort)TOp.Do((short)a, (short)b);
    }

    private struct AddLane : ILane2<uint, uint, uint> { public static uint Do(uint a, uint b) => a + b; }

    private struct SubLane : ILane2<uint, uint, uint> { public static uint Do(uint a, uint b) => a - b; }

    private struct MulLane : ILane2<uint, uint, uint> { public static uint Do(uint a, uint b) => a * b; }

    private struct MadLane : ILane3<uint, uint, uint, uint> { public static uint Do(uint a, uint b, uint c) => a * b + c; }

    private struct Mad16 : ILane3<uint, uint, uint, uint> { public static uint Do(uint a, uint b, uint c) => (ushort)(a * b + c); }

    private struct MinLane : ILane2<int, int, int> { public static int Do(int a, int b) => Math.Min(a, b); }

    private struct MaxLane : ILane2<int, int, int> { public static int Do(int a, int b) => Math.Max(a, b); }

    private struct Abs16 : ILane1<uint, uint> { public static uint Do(uint a) => (ushort)((short)a < 0 ? -(short)a : (short)a); }

    private struct Neg16 : ILane1<uint, uint> { public static uint Do(uint a) => (ushort)-(short)a; }

    private struct AddSaturated : ILane2<int, int, int>
    {
        public static int Do(int a, int b) => (int)Math.Clamp((long)a + b, int.MinValue, int.MaxValue);
    }

    private struct SubSaturated : ILane2<int, int, int>
    {
        public static int Do(int a, int b) => (int)Math.Clamp((long)a - b, int.MinValue, int.MaxValue);
    }

    // A division by zero has no defined result; the hardware gives all ones, and the dividend as remainder.
    private struct DivSigned : ILane2<int, int, int>
    {
        public static int Do(int a, int b) => b == 0 ? -1 : b == -1 ? unchecked(-a) : a / b;
    }

    private struct DivUnsigned : ILane2<uint, uint, uint> { public static uint Do(uint a, uint b) => b == 0 ? uint.MaxValue : a / b; }

    private struct DivSigned64 : ILane2<long, long, long>
    {
        public static long Do(long a, long b) => b == 0 ? -1 : b == -1 ? unchecked(-a) : a / b;
    }

    private struct DivUnsigned64 : ILane2<ulong, ulong, ulong>
    {
        public static ulong Do(ulong a, ulong b) => b == 0 ? ulong.MaxValue : a / b;
    }

    private struct RemSigned : ILane2<int, int, int> { public static int Do(int a, int b) => b == 0 ? a : b == -1 ? 0 : a % b; }

    private struct RemUnsigned : ILane2<uint, uint, uint> { public static uint Do(uint a, uint b) => b == 0 ? a : a % b; }

    private struct RemSigned64 : ILane2<long, long, long> { public static long Do(long a, long b) => b == 0 ? a : b == -1 ? 0 : a % b; }

    private struct RemUnsigned64 : ILane2<ulong, ulong, ulong> { public static ulong Do(ulong a, ulong b) => b == 0 ? a : a % b; }

    private struct MulHigh : ILane2<uint, uint, uint> { public static uint Do(uint a, uint b) => (uint)((ulong)a * b >> 32); }

    private struct MulHighSigned : ILane2<int, int, int> { public static int Do(int a, int b) => (int)((long)a * b >> 32); }

    private struct MulHigh64 : ILane2<ulong, ulong, ulong> { public static ulong Do(ulong a, ulong b) => Math.BigMul(a, b, out _); }

    private struct MulHighSigned64 : ILane2<long, long, long> { public static long Do(long a, long b) => Math.BigMul(a, b, out _); }

    private struct MulHigh16 : ILane2<uint, uint, uint> { public static uint Do(uint a, uint b) => a * b >> 16; }

    private struct MulHighSigned16 : ILane2<uint, uint, uint>
    {
        public static uint Do(uint a, uint b) => (ushort)((short)a * (short)b >> 16);
    }

    private struct MulWideSigned16 : ILane2<uint, uint, uint> { public static uint Do(uint a, uint b) => (uint)((short)a * (short)b); }

    private struct MadWideSigned16 : ILane3<uint, uint, uint, uint>
    {
        public static uint Do(uint a, uint b, uint c) => (uint)((short)a * (short)b) + c;
    }

    private struct MadWide : ILane3<uint, uint, ulong, ulong> { public static ulong Do(uint a, uint b, ulong c) => (ulong)a * b + c; }

    private struct MadWideSigned : ILane3<int, int, long, long> { public static long Do(int a, int b, long c) => (long)a * b + c; }

    private struct MadHigh : ILane3<uint, uint, uint, uint>
    {
        public static uint Do(uint a, uint b, uint c) => (uint)((ulong)a * b >> 32) + c;
    }

    private struct MadHighSigned : ILane3<int, int, int, int> { public static int Do(int a, int b, int c) => (int)((long)a * b >> 32) + c; }

    private struct MadHigh64 : ILane3<ulong, ulong, ulong, ulong>
    {
        public static ulong Do(ulong a, ulong b, ulong c) => Math.BigMul(a, b, out _) + c;
    }

    private struct MadHighSigned64 : ILane3<long, long, long, long>
    {
        public static long Do(long a, long b, long c) => Math.BigMul(a, b, out _) + c;
    }

    private struct SadSigned : ILane3<int, int, uint, uint>
    {
        public static uint Do(int a, int b, uint c) => c + (uint)Math.Abs((long)a - b);
    }

    private struct SadUnsigned : ILane3<uint, uint, uint, uint>
    {
        public static uint Do(uint a, uint b, uint c) => c + (a > b ? a - b : b - a);
    }

    private struct Mul24Signed : ILane2<int, int, int> { public static int Do(int a, int b) => (a << 8 >> 8) * (b << 8 >> 8); }

    private struct Mul24Unsigned : ILane2<uint, uint, uint> { public static uint Do(uint a, uint b) => (a & 0xffffff) * (b & 0xffffff); }

    private struct Mad24Signed : ILane3<int, int, int, int>
    {
        public static int Do(int a, int b, int c) => (a << 8 >> 8) * (b << 8 >> 8) + c;
    }

    private struct Mad24Unsigned : ILane3<uint, uint, uint, uint>
    {
        public static uint Do(uint a, uint b, uint c) => (a & 0xffffff) * (b & 0xffffff) + c;
    }

    private struct Dp4a<TA, TB> : ILane3<uint, uint, uint, uint>
        where TA : struct, IFlag
        where TB : struct, IFlag
    {
        public static uint Do(uint a, uint b, uint c)
        {
            int sum = (int)c;
            for (int i = 0; i < 32; i += 8)
                sum += (TA.Value ? (sbyte)(a >> i) : (byte)(a >> i)) * (TB.Value ? (sbyte)(b >> i) : (byte)(b >> i));
            return (uint)sum;
        }
    }
}
