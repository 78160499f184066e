using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;
using DwrSeg.PtxEmulator.Translation;

namespace DwrSeg.PtxEmulator.Instructions;

/// <summary>Logic, shifts, fields of bits, permutations of bytes.</summary>
internal static unsafe class BitOps
{
    private const InstructionClass Kind = InstructionClass.Integer;

    public static void Register(Dictionary<string, Action<InstructionReader>> table)
    {
        table["and"] = r => Logic(r, &Shell.Vector2<And<uint>, uint>, &Shell.Vector2<And<ulong>, ulong>, &AndPredicate);
        table["or"] = r => Logic(r, &Shell.Vector2<Or<uint>, uint>, &Shell.Vector2<Or<ulong>, ulong>, &OrPredicate);
        table["xor"] = r => Logic(r, &Shell.Vector2<Xor<uint>, uint>, &Shell.Vector2<Xor<ulong>, ulong>, &XorPredicate);
        table["not"] = Not;
        table["cnot"] = r =>
        {
            PtxType type = r.Type();
            if (type.Bytes() != 4) throw r.Error("cnot is emulated for 32 bits");
            r.Emit(&Shell.Lanes1<CNot, uint, uint>, Kind, r.Destination(0, 32), r.Source(1, 32));
        };
        table["shl"] = r => Shift(r, left: true);
        table["shr"] = r => Shift(r, left: false);
        table["shf"] = FunnelShift;
        table["lop3"] = r =>
        {
            string? combine = r.OneOf("or", "and");
            r.Type();
            if (combine is not null) throw r.Error("lop3 with a predicate is not emulated");
            int d = r.Destination(0, 32), a = r.Source(1, 32), b = r.Source(2, 32), c = r.Source(3, 32);
            r.Operation.Immediate = r.Constant(4) & 255;
            r.Emit(&Lop3, Kind, d, a, b, c);
        };
        table["prmt"] = r =>
        {
            string? mode = r.OneOf("f4e", "b4e", "rc8", "ecl", "ecr", "rc16");
            r.Type();
            int small = mode switch { "f4e" => 1, "b4e" => 2, "rc8" => 3, "ecl" => 4, "ecr" => 5, "rc16" => 6, _ => 0 };
            r.Emit(&Permute, Kind, r.Destination(0, 32), r.Source(1, 32), r.Source(2, 32), r.Source(3, 32), small: small);
        };
        table["bfe"] = r =>
        {
            PtxType type = r.Type();
            int bits = type.Bytes() * 8;
            delegate*<Warp, Op*, void> run = bits == 32
                ? type.IsSigned() ? &Shell.Lanes3<BfeSigned, int, uint, uint, int> : &Shell.Lanes3<Bfe, uint, uint, uint, uint>
                : type.IsSigned() ? &Shell.Lanes3<BfeSigned64, long, uint, uint, long> : &Shell.Lanes3<Bfe64, ulong, uint, uint, ulong>;
            r.Emit(run, Kind, r.Destination(0, bits), r.Source(1, bits), r.Source(2, 32), r.Source(3, 32));
        };
        table["bfi"] = r =>
        {
            int bits = r.Type().Bytes() * 8;
            int d = r.Destination(0, bits), a = r.Source(1, bits), b = r.Source(2, bits), c = r.Source(3, 32);
            r.Operation.E = r.Source(4, 32);
            r.Emit(bits == 32 ? &Insert32 : &Insert64, Kind, d, a, b, c);
        };
        table["bfind"] = r =>
        {
            bool shift = r.Flag("shiftamt");
            PtxType type = r.Type();
            int bits = type.Bytes() * 8;
            delegate*<Warp, Op*, void> run = bits == 32
                ? type.IsSigned() ? shift ? &Shell.Lanes1<FindSigned<Shifted>, int, uint> : &Shell.Lanes1<FindSigned<Position>, int, uint>
                    : shift ? &Shell.Lanes1<Find<Shifted>, uint, uint> : &Shell.Lanes1<Find<Position>, uint, uint>
                : type.IsSigned() ? shift ? &Shell.Lanes1<FindSigned64<Shifted>, long, uint> : &Shell.Lanes1<FindSigned64<Position>, long, uint>
                    : shift ? &Shell.Lanes1<Find64<Shifted>, ulong, uint> : &Shell.Lanes1<Find64<Position>, ulong, uint>;
            r.Emit(run, Kind, r.Destination(0, 32), r.Source(1, bits));
        };
        table["szext"] = r =>
        {
            r.Requires(70);
            bool clamp = r.OneOf("clamp", "wrap") is string mode ? mode == "clamp" : throw r.Error("szext needs clamp or wrap");
            bool signed = r.Type().IsSigned();
            delegate*<Warp, Op*, void> run = clamp
                ? signed ? &Shell.Lanes2<ExtendSignedClamped, uint, uint, uint> : &Shell.Lanes2<ExtendClamped, uint, uint, uint>
                : signed ? &Shell.Lanes2<ExtendSigned, uint, uint, uint> : &Shell.Lanes2<Extend, uint, uint, uint>;
            r.Emit(run, Kind, r.Destination(0, 32), r.Source(1, 32), r.Source(2, 32));
        };
        table["brev"] = r => OfWidth(r, &Shell.Lanes1<Reverse, uint, uint>, &Shell.Lanes1<Reverse64, ulong, ulong>, false);
        table["clz"] = r => OfWidth(r, &Shell.Lanes1<LeadingZeros, uint, uint>, &Shell.Lanes1<LeadingZeros64, ulong, uint>, true);
        table["popc"] = r => OfWidth(r, &Shell.Lanes1<Ones, uint, uint>, &Shell.Lanes1<Ones64, ulong, uint>, true);
    }

    private static void OfWidth(InstructionReader r, delegate*<Warp, Op*, void> for32, delegate*<Warp, Op*, void> for64, bool narrow)
    {
        int bits = r.Type().Bytes() * 8;
        r.Emit(bits == 64 ? for64 : for32, Kind, r.Destination(0, narrow ? 32 : bits), r.Source(1, bits));
    }

    private static void Logic(
        InstructionReader r, delegate*<Warp, Op*, void> for32, delegate*<Warp, Op*, void> for64, delegate*<Warp, Op*, void> forPredicates)
    {
        PtxType type = r.Type();
        int bits = type == PtxType.Pred ? 1 : type.Bytes() * 8;
        r.Emit(bits == 1 ? forPredicates : bits == 64 ? for64 : for32, bits == 1 ? InstructionClass.Move : Kind, r.Destination(0, bits),
            r.Source(1, bits), r.Source(2, bits));
    }

    private static void Not(InstructionReader r)
    {
        PtxType type = r.Type();
        int bits = type == PtxType.Pred ? 1 : type.Bytes() * 8;
        delegate*<Warp, Op*, void> run = bits switch
        {
            1 => &NotPredicate,
            16 => &Shell.Lanes1<Not16, uint, uint>,
            32 => &Shell.Vector1<Complement<uint>, uint>,
            _ => &Shell.Vector1<Complement<ulong>, ulong>,
        };
        r.Emit(run, bits == 1 ? InstructionClass.Move : Kind, r.Destination(0, bits), r.Source(1, bits));
    }

    private static void Shift(InstructionReader r, bool left)
    {
        PtxType type = r.Type();
        int bits = type.Bytes() * 8;
        bool signed = type.IsSigned();
        int d = r.Destination(0, bits), a = r.Source(1, bits);
        if (r.IsConstant(2) && bits >= 32)
        {
            ulong count = Math.Min((uint)r.Constant(2), (ulong)bits);
            // A shift by the whole width gives nothing but signs: by one less and, for unsigned types, one more.
            r.Operation.Small = (int)Math.Min(count, (ulong)bits - 1);
            r.Operation.Immediate = count == (ulong)bits && !signed ? 1 : 0;
            delegate*<Warp, Op*, void> constant = bits == 32
                ? left ? &ShiftLeftBy<uint> : signed ? &ShiftRightSigned32By : &ShiftRightBy<uint>
                : left ? &ShiftLeftBy<ulong> : signed ? &ShiftRightSigned64By : &ShiftRightBy<ulong>;
            r.Emit(constant, Kind, d, a);
            return;
        }
        delegate*<Warp, Op*, void> run = bits switch
        {
            16 => left ? &Shell.Lanes2<ShiftLeft16, uint, uint, uint> : signed ? &Shell.Lanes2<ShiftRightSigned16, uint, uint, uint>
                : &Shell.Lanes2<ShiftRight, uint, uint, uint>,
            32 => left ? &Shell.Lanes2<ShiftLeft, uint, uint, uint> : signed ? &Shell.Lanes2<ShiftRightSigned, int, uint, int>
                : &Shell.Lanes2<ShiftRight, uint, uint, uint>,
            _ => left ? &Shell.Lanes2<ShiftLeft64, ulong, uint, ulong> : signed ? &Shell.Lanes2<ShiftRightSigned64, long, uint, long>
                : &Shell.Lanes2<ShiftRight64, ulong, uint, ulong>,
        };
        r.Emit(run, Kind, d, a, r.Source(2, 32));
    }

    private static void FunnelShift(InstructionReader r)
    {
        bool left = r.OneOf("l", "r") == "l", wrap = r.OneOf("clamp", "wrap") == "wrap";
        r.Type();
        delegate*<Warp, Op*, void> run = left
            ? wrap ? &Shell.Lanes3<FunnelLeftWrap, uint, uint, uint, uint> : &Shell.Lanes3<FunnelLeft, uint, uint, uint, uint>
            : wrap ? &Shell.Lanes3<FunnelRightWrap, uint, uint, uint, uint> : &Shell.Lanes3<FunnelRight, uint, uint, uint, uint>;
        r.Emit(run, Kind, r.Destination(0, 32), r.Source(1, 32), r.Source(2, 32), r.Source(3, 32));
    }

    private static void AndPredicate(Warp warp, Op* op) =>
        MoveOps.SetPredicate(warp, op->D, *(uint*)(warp.Frame + op->A) & *(uint*)(warp.Frame + op->B));

    private static void OrPredicate(Warp warp, Op* op) =>
        MoveOps.SetPredicate(warp, op->D, *(uint*)(warp.Frame + op->A) | *(uint*)(warp.Frame + op->B));

    private static void XorPredicate(Warp warp, Op* op) =>
        MoveOps.SetPredicate(warp, op->D, *(uint*)(warp.Frame + op->A) ^ *(uint*)(warp.Frame + op->B));

    private static void NotPredicate(Warp warp, Op* op) => MoveOps.SetPredicate(warp, op->D, ~*(uint*)(warp.Frame + op->A));

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ShiftLeftBy<T>(Warp warp, Op* op)
        where T : unmanaged
    {
        T* a = (T*)(warp.Frame + op->A), d = (T*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += Vector512<T>.Count)
            Shell.Store(d, i, warp.Mask, Vector512.Load(a + i) << op->Small << (int)op->Immediate);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ShiftRightBy<T>(Warp warp, Op* op)
        where T : unmanaged
    {
        T* a = (T*)(warp.Frame + op->A), d = (T*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += Vector512<T>.Count)
            Shell.Store(d, i, warp.Mask, Vector512.Load(a + i) >>> op->Small >>> (int)op->Immediate);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ShiftRightSigned32By(Warp warp, Op* op)
    {
        int* a = (int*)(warp.Frame + op->A), d = (int*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += 16) Shell.Store(d, i, warp.Mask, Vector512.Load(a + i) >> op->Small);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ShiftRightSigned64By(Warp warp, Op* op)
    {
        long* a = (long*)(warp.Frame + op->A), d = (long*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += 8) Shell.Store(d, i, warp.Mask, Vector512.Load(a + i) >> op->Small);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Lop3(Warp warp, Op* op)
    {
        uint* a = (uint*)(warp.Frame + op->A), b = (uint*)(warp.Frame + op->B), c = (uint*)(warp.Frame + op->C),
            d = (uint*)(warp.Frame + op->D);
        for (int i = 0; i < 32; i += 16)
        {
            Vector512<uint> x = Vector512.Load(a + i), y = Vector512.Load(b + i), z = Vector512.Load(c + i), result = Vector512<uint>.Zero;
            for (int term = 0; term < 8; term++)
            {
                if ((op->Immediate >> term & 1) == 0) continue;
                result |= ((term & 4) != 0 ? x : ~x) & ((term & 2) != 0 ? y : ~y) & ((term & 1) != 0 ? z : ~z);
            }
            Shell.Store(d, i, warp.Mask, result);
        }
    }

    private static void Permute(Warp warp, Op* op)
    {
        uint* a = (uint*)(warp.Frame + op->A), b = (uint*)(warp.Frame + op->B), c = (uint*)(warp.Frame + op->C),
            d = (uint*)(warp.Frame + op->D);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            ulong bytes = (ulong)b[i] << 32 | a[i];
            uint result = 0, at = c[i] & 3;
            for (int k = 0; k < 4; k++)
            {
                uint n = (uint)k;
                uint select = op->Small switch
                {
                    0 => c[i] >> (4 * k) & 15,
                    1 => at + n,
                    2 => (at - n) & 7,
                    3 => at,
                    4 => Math.Max(n, at),
                    5 => Math.Min(n, at),
                    _ => (at & 1) * 2 + (n & 1),
                };
                uint value = (uint)(bytes >> (int)(8 * (select & 7))) & 255;
                if ((select & 8) != 0) value = (value & 128) != 0 ? 255u : 0;
                result |= value << (8 * k);
            }
            d[i] = result;
        }
    }

    private static void Insert32(Warp warp, Op* op)
    {
        uint* a = (uint*)(warp.Frame + op->A), b = (uint*)(warp.Frame + op->B), c = (uint*)(warp.Frame + op->C),
            e = (uint*)(warp.Frame + op->E), d = (uint*)(warp.Frame + op->D);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            int at = (int)(c[i] & 255), count = (int)(e[i] & 255);
            ulong mask = at >= 32 ? 0 : (count >= 32 ? uint.MaxValue : (1ul << count) - 1) << at;
            d[i] = (uint)((b[i] & ~mask) | (((ulong)a[i] << Math.Min(at, 32)) & mask));
        }
    }

    private static void Insert64(Warp warp, Op* op)
    {
        ulong* a = (ulong*)(warp.Frame + op->A), b = (ulong*)(warp.Frame + op->B), d = (ulong*)(warp.Frame + op->D);
        uint* c = (uint*)(warp.Frame + op->C), e = (uint*)(warp.Frame + op->E);
        for (uint left = warp.Mask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            int at = (int)(c[i] & 255), count = (int)(e[i] & 255);
            ulong mask = at >= 64 ? 0 : (count >= 64 ? ulong.MaxValue : (1ul << count) - 1) << at;
            d[i] = (b[i] & ~mask) | (at >= 64 ? 0 : (a[i] << at) & mask);
        }
    }

    private struct And<T> : IVector2<T> { public static Vector512<T> Do(Vector512<T> a, Vector512<T> b) => a & b; }

    private struct Or<T> : IVector2<T> { public static Vector512<T> Do(Vector512<T> a, Vector512<T> b) => a | b; }

    private struct Xor<T> : IVector2<T> { public static Vector512<T> Do(Vector512<T> a, Vector512<T> b) => a ^ b; }

    private struct Complement<T> : IVector1<T> { public static Vector512<T> Do(Vector512<T> a) => ~a; }

    private struct Not16 : ILane1<uint, uint> { public static uint Do(uint a) => (ushort)~a; }

    private struct CNot : ILane1<uint, uint> { public static uint Do(uint a) => a == 0 ? 1u : 0; }

    private struct ShiftLeft : ILane2<uint, uint, uint> { public static uint Do(uint a, uint b) => b > 31 ? 0 : a << (int)b; }

    private struct ShiftRight : ILane2<uint, uint, uint> { public static uint Do(uint a, uint b) => b > 31 ? 0 : a >> (int)b; }

    private struct ShiftRightSigned : ILane2<int, uint, int> { public static int Do(int a, uint b) => a >> (int)Math.Min(b, 31); }

    private struct ShiftLeft16 : ILane2<uint, uint, uint> { public static uint Do(uint a, uint b) => b > 15 ? 0u : (ushort)(a << (int)b); }

    private struct ShiftRightSigned16 : ILane2<uint, uint, uint>
    {
        public static uint Do(uint a, uint b) => (ushort)((short)a >> (int)Math.Min(b, 15));
    }

    private struct ShiftLeft64 : ILane2<ulong, uint, ulong> { public static ulong Do(ulong a, uint b) => b > 63 ? 0 : a << (int)b; }

    private struct ShiftRight64 : ILane2<ulong, uint, ulong> { public static ulong Do(ulong a, uint b) => b > 63 ? 0 : a >> (int)b; }

    private struct ShiftRightSigned64 : ILane2<long, uint, long> { public static long Do(long a, uint b) => a >> (int)Math.Min(b, 63); }

    private struct FunnelLeft : ILane3<uint, uint, uint, uint>
    {
        public static uint Do(uint a, uint b, uint c) => (uint)((((ulong)b << 32 | a) << (int)Math.Min(c, 32)) >> 32);
    }

    private struct FunnelLeftWrap : ILane3<uint, uint, uint, uint>
    {
        public static uint Do(uint a, uint b, uint c) => FunnelLeft.Do(a, b, c & 31);
    }

    private struct FunnelRight : ILane3<uint, uint, uint, uint>
    {
        public static uint Do(uint a, uint b, uint c) => (uint)(((ulong)b << 32 | a) >> (int)Math.Min(c, 32));
    }

    private struct FunnelRightWrap : ILane3<uint, uint, uint, uint>
    {
        public static uint Do(uint a, uint b, uint c) => FunnelRight.Do(a, b, c & 31);
    }

    private struct Bfe : ILane3<uint, uint, uint, uint> { public static uint Do(uint a, uint b, uint c) => (uint)Bfe64.Do(a, b, c); }

    private struct Bfe64 : ILane3<ulong, uint, uint, ulong>
    {
        public static ulong Do(ulong a, uint b, uint c)
        {
            int at = (int)(b & 255), count = (int)(c & 255);
            return at > 63 ? 0 : (a >> at) & (count > 63 ? ulong.MaxValue : (1ul << count) - 1);
        }
    }

    private struct BfeSigned : ILane3<int, uint, uint, int>
    {
        public static int Do(int a, uint b, uint c) => (int)Field(a, (int)(b & 255), (int)(c & 255), 31);
    }

    private struct BfeSigned64 : ILane3<long, uint, uint, long>
    {
        public static long Do(long a, uint b, uint c) => Field(a, (int)(b & 255), (int)(c & 255), 63);
    }

    private static long Field(long a, int at, int count, int top)
    {
        if (count == 0) return 0;
        // Bits above the register repeat its sign, and so does the field's own top bit.
        int end = Math.Min(at + count - 1, top);
        bool sign = (a >> end & 1) != 0;
        if (at > top) return sign ? -1 : 0;
        int have = end - at + 1;
        long value = have > 63 ? a : (a >> at) & ((1L << have) - 1);
        return sign && have < 64 ? value | (-1L << have) : value;
    }

    private struct Reverse : ILane1<uint, uint> { public static uint Do(uint a) => (uint)(Reverse64.Do(a) >> 32); }

    private struct Reverse64 : ILane1<ulong, ulong>
    {
        public static ulong Do(ulong a)
        {
            a = (a >> 1 & 0x5555555555555555) | (a & 0x5555555555555555) << 1;
            a = (a >> 2 & 0x3333333333333333) | (a & 0x3333333333333333) << 2;
            a = (a >> 4 & 0x0f0f0f0f0f0f0f0f) | (a & 0x0f0f0f0f0f0f0f0f) << 4;
            return System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(a);
        }
    }

    private struct LeadingZeros : ILane1<uint, uint> { public static uint Do(uint a) => (uint)BitOperations.LeadingZeroCount(a); }

    private struct LeadingZeros64 : ILane1<ulong, uint> { public static uint Do(ulong a) => (uint)BitOperations.LeadingZeroCount(a); }

    private struct Ones : ILane1<uint, uint> { public static uint Do(uint a) => (uint)BitOperations.PopCount(a); }

    private struct Ones64 : ILane1<ulong, uint> { public static uint Do(ulong a) => (uint)BitOperations.PopCount(a); }

    // What bfind makes of the position of the highest bit that is not a copy of the sign.
    private interface IFound { static abstract uint Of(int position, int last); }

    private struct Position : IFound { public static uint Of(int position, int last) => (uint)position; }

    private struct Shifted : IFound { public static uint Of(int position, int last) => (uint)(last - position); }

    private struct Find<TFound> : ILane1<uint, uint>
        where TFound : IFound
    {
        public static uint Do(uint a) => a == 0 ? uint.MaxValue : TFound.Of(BitOperations.Log2(a), 31);
    }

    private struct FindSigned<TFound> : ILane1<int, uint>
        where TFound : IFound
    {
        public static uint Do(int a) => Find<TFound>.Do((uint)(a < 0 ? ~a : a));
    }

    private struct Find64<TFound> : ILane1<ulong, uint>
        where TFound : IFound
    {
        public static uint Do(ulong a) => a == 0 ? uint.MaxValue : TFound.Of(BitOperations.Log2(a), 63);
    }

    private struct FindSigned64<TFound> : ILane1<long, uint>
        where TFound : IFound
    {
        public static uint Do(long a) => Find64<TFound>.Do((ulong)(a < 0 ? ~a : a));
    }

    // The lowest bits of a value; all of it where there are no fewer. Wrapping counts modulo 32.
    private struct Extend : ILane2<uint, uint, uint>
    {
        public static uint Do(uint a, uint b) => a & ((1u << (int)(b & 31)) - 1);
    }

    private struct ExtendClamped : ILane2<uint, uint, uint>
    {
        public static uint Do(uint a, uint b) => b >= 32 ? a : Extend.Do(a, b);
    }

    private struct ExtendSigned : ILane2<uint, uint, uint>
    {
        public static uint Do(uint a, uint b) => (b & 31) == 0 ? 0 : (uint)((int)(a << (int)(32 - (b & 31))) >> (int)(32 - (b & 31)));
    }

    private struct ExtendSignedClamped : ILane2<uint, uint, uint>
    {
        public static uint Do(uint a, uint b) => b >= 32 ? a : ExtendSigned.Do(a, b);
    }
}
