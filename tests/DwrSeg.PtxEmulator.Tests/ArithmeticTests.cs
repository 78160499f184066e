using System.Numerics;
using Xunit;

namespace DwrSeg.PtxEmulator.Tests;

/// <summary>Arithmetic against other ways to the same result.</summary>
public sealed class ArithmeticTests
{
    private static readonly uint[] Edges =
        [0, 1, 2, 3, 31, 32, 33, 63, 64, 127, 128, 255, 256, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0x80000001,
            0xfffffffe, 0xffffffff, 0xdeadbeef, 0x12345678];

    public static TheoryData<string, Func<uint, uint, uint>> Integers => new()
    {
        { "add.u32 d, a, b;", (a, b) => a + b },
        { "sub.s32 d, a, b;", (a, b) => a - b },
        { "mul.lo.s32 d, a, b;", (a, b) => a * b },
        { "mul.hi.u32 d, a, b;", (a, b) => (uint)(new BigInteger(a) * b >> 32) },
        { "mul.hi.s32 d, a, b;", (a, b) => (uint)(int)(new BigInteger((int)a) * (int)b >> 32) },
        { "mad.lo.s32 d, a, b, 7;", (a, b) => a * b + 7 },
        { "min.s32 d, a, b;", (a, b) => (int)a < (int)b ? a : b },
        { "max.u32 d, a, b;", (a, b) => a > b ? a : b },
        { "abs.s32 d, a;", (a, _) => (int)a < 0 ? 0 - a : a },
        { "neg.s32 d, a;", (a, _) => ~a + 1 },
        { "shl.b32 d, a, b;", (a, b) => (uint)(new BigInteger(a) << (int)Math.Min(b, 64) & uint.MaxValue) },
        { "shr.u32 d, a, b;", (a, b) => (uint)(new BigInteger(a) >> (int)Math.Min(b, 64)) },
        { "shr.s32 d, a, b;", (a, b) => (uint)(int)(new BigInteger((int)a) >> (int)Math.Min(b, 64)) },
        { "shr.s32 d, a, 5;", (a, _) => (uint)((int)a >> 5) },
        { "shl.b32 d, a, 32;", (_, _) => 0 },
        { "not.b32 d, a;", (a, _) => ~a },
        { "lop3.b32 d, a, b, 0x0ff00ff0, 0x96;", (a, b) => a ^ b ^ 0x0ff00ff0 },
        { "lop3.b32 d, a, b, 0x0ff00ff0, 0xe8;", (a, b) => (a & b) | (a & 0x0ff00ff0) | (b & 0x0ff00ff0) },
        { "popc.b32 d, a;", (a, _) => (uint)Convert.ToString(a, 2).Count(c => c == '1') },
        { "clz.b32 d, a;", (a, _) => (uint)(32 - (a == 0 ? 0 : Convert.ToString(a, 2).Length)) },
        { "brev.b32 d, a;", (a, _) => Convert.ToUInt32(new string([.. Convert.ToString(a, 2).PadLeft(32, '0').Reverse()]), 2) },
        { "prmt.b32 d, a, b, 0x7362;", (a, b) => (a >> 16 & 255) | (b >> 16 & 255) << 8 | (a >> 24) << 16 | (b >> 24) << 24 },
        { "prmt.b32 d, a, b, 0x0098;", (a, _) => ((a & 128) != 0 ? 255u : 0) | ((a & 32768) != 0 ? 65280u : 0) | (a & 255) << 16
            | (a & 255) << 24 },
        { "shf.l.wrap.b32 d, a, b, 9;", (a, b) => b << 9 | a >> 23 },
        { "shf.r.clamp.b32 d, a, b, 40;", (_, b) => b },
        { "bfe.u32 d, a, 5, 9;", (a, _) => a >> 5 & 511 },
        { "bfe.s32 d, a, 20, 20;", (a, _) => (uint)((int)a >> 20) },
        { "bfi.b32 d, a, b, 8, 12;", (a, b) => (b & ~0xfff00u) | (a & 0xfff) << 8 },
        { "dp4a.s32.u32 d, a, b, 3;", (a, b) => (uint)(3 + Enumerable.Range(0, 4).Sum(i => (sbyte)(a >> 8 * i) * (byte)(b >> 8 * i))) },
        { "add.cc.u32 d, a, b;\naddc.u32 d, 0, 0;", (a, b) => (uint)((ulong)a + b >> 32) },
        { "sub.cc.u32 d, a, b;\nsubc.u32 d, 5, 0;", (a, b) => 5u - (a < b ? 1u : 0) },
        { "setp.lt.s32 p|q, a, b;\nselp.u32 d, 1, 2, p;\n@q add.u32 d, d, 10;", (a, b) => (int)a < (int)b ? 1u : 12 },
        { "setp.hs.u32 p, a, b;\n@p mov.u32 d, 9;", (a, b) => a >= b ? 9u : 0 },
        { "cvt.u16.u32 h0, a;\ncvt.s32.s16 d, h0;", (a, _) => (uint)(short)a },
        { "cvt.sat.u8.s32 h0, a;\ncvt.u32.u8 d, h0;", (a, _) => (uint)Math.Clamp((int)a, 0, 255) },
        { "cvt.u16.u32 h0, a;\ncvt.u16.u32 h1, b;\nmin.s16 h2, h0, h1;\ncvt.u32.u16 d, h2;",
            (a, b) => (ushort)Math.Min((short)a, (short)b) },
        { "mul.wide.s32 w0, a, b;\nshr.u64 w0, w0, 20;\ncvt.u32.u64 d, w0;", (a, b) => (uint)((ulong)((long)(int)a * (int)b) >> 20) },
        { "mov.b64 w0, {a, b};\nmov.b64 {t0, t1}, w0;\nsub.u32 d, t1, t0;", (a, b) => b - a },
        { "mad.wide.u32 w0, a, b, 99;\nmov.b64 {t0, d}, w0;", (a, b) => (uint)(((ulong)a * b + 99) >> 32) },
    };

    [Theory]
    [MemberData(nameof(Integers))]
    public void IntegerInstructions(string instructions, Func<uint, uint, uint> expected)
    {
        (ulong[] a, ulong[] b) = Pairs(Edges);
        ulong[] result = PtxSnippet.Run(instructions, "b32", "b32", a, b);
        for (int i = 0; i < a.Length; i++)
            Assert.True(expected((uint)a[i], (uint)b[i]) == result[i], $"{instructions} of 0x{a[i]:x} and 0x{b[i]:x} gave 0x{result[i]:x}");
    }

    [Fact]
    public void EveryHalfWidensToItsValue()
    {
        ulong[] a = [.. Enumerable.Range(0, 65536).Select(i => (ulong)i)];
        ulong[] result = PtxSnippet.Run("cvt.u16.u32 h0, a;\ncvt.f32.f16 d, h0;", "b32", "b32", a);
        for (int i = 0; i < a.Length; i++)
        {
            float expected = (float)BitConverter.UInt16BitsToHalf((ushort)i);
            Assert.Equal(float.IsNaN(expected) ? 0x7fffffff : BitConverter.SingleToUInt32Bits(expected), (uint)result[i]);
        }
    }

    [Fact]
    public void FloatsRoundToHalfAndBFloat()
    {
        var random = new Random(5);
        ulong[] a = [.. Enumerable.Range(0, 8192).Select(i => i < 4096
            // Around every boundary between two halves, and anywhere else.
            ? BitConverter.SingleToUInt32Bits((float)BitConverter.UInt16BitsToHalf((ushort)(i * 15))) + (ulong)(0x1000 + i % 3 - 1)
            : (uint)random.NextInt64(1L << 32))];
        ulong[] half = PtxSnippet.Run("cvt.rn.f16.f32 h0, a;\ncvt.u32.u16 d, h0;", "b32", "b32", a);
        ulong[] brain = PtxSnippet.Run("cvt.rn.bf16.f32 h0, a;\ncvt.u32.u16 d, h0;", "b32", "b32", a);
        for (int i = 0; i < a.Length; i++)
        {
            float value = BitConverter.UInt32BitsToSingle((uint)a[i]);
            Assert.Equal(float.IsNaN(value) ? (ushort)0x7fff : BitConverter.HalfToUInt16Bits((Half)value), (ushort)half[i]);
            ulong low = a[i] & 0xffff, upper = a[i] >> 16;
            ulong expected = float.IsNaN(value) ? 0x7fff : low > 0x8000 || (low == 0x8000 && (upper & 1) != 0) ? upper + 1 : upper;
            Assert.Equal(expected, brain[i]);
        }
    }

    [Fact]
    public void HalfFmaRoundsTheExactResultOnce()
    {
        var random = new Random(9);
        ushort Pick() => (ushort)(random.Next(4) == 0 ? random.Next(0x400) | random.Next(2) << 15 : random.Next(0x7c00)
            | random.Next(2) << 15);
        ulong[] a = [.. Enumerable.Range(0, 16384).Select(_ => (ulong)(Pick() | (uint)Pick() << 16))],
            b = [.. a.Select(_ => (ulong)(Pick() | (uint)Pick() << 16))];
        // Addends near the product's ties are where rounding twice would show.
        ulong[] c = [.. a.Select((x, i) => (ulong)((i % 2 == 0 ? (ushort)random.Next(1, 64) : Pick()) | (uint)Pick() << 16))];
        ulong[] result = PtxSnippet.Run("fma.rn.f16x2 d, a, b, c;", "b32", "b32", a, b, c);
        for (int i = 0; i < a.Length; i++)
        {
            for (int part = 0; part < 32; part += 16)
            {
                ushort expected = ExactFma((ushort)(a[i] >> part), (ushort)(b[i] >> part), (ushort)(c[i] >> part)),
                    got = (ushort)(result[i] >> part);
                Assert.True(expected == got || ((expected | got) & 0x7fff) == 0,
                    $"{a[i]:x} {b[i]:x} {c[i]:x}: {got:x4}, exactly {expected:x4}");
            }
        }
    }

    [Theory]
    [InlineData("add.rz.f32")]
    [InlineData("add.rm.f32")]
    [InlineData("add.rp.f32")]
    [InlineData("mul.rz.f32")]
    [InlineData("mul.rm.f32")]
    [InlineData("mul.rp.f32")]
    public void DirectedRoundingKeepsToItsSide(string instruction)
    {
        var random = new Random(3);
        // Exponents so close that sums and products are exact as doubles.
        ulong[] a = [.. Enumerable.Range(0, 1024).Select(_ => (ulong)BitConverter.SingleToUInt32Bits((random.NextSingle() - 0.5f) * 16))],
            b = [.. a.Select(_ => (ulong)BitConverter.SingleToUInt32Bits((random.NextSingle() - 0.5f) * 16))];
        ulong[] result = PtxSnippet.Run($"{instruction} d, a, b;", "b32", "b32", a, b);
        for (int i = 0; i < a.Length; i++)
        {
            double x = BitConverter.UInt32BitsToSingle((uint)a[i]), y = BitConverter.UInt32BitsToSingle((uint)b[i]),
                exact = instruction[0] == 'a' ? x + y : x * y;
            float got = BitConverter.UInt32BitsToSingle((uint)result[i]);
            bool down = instruction.Contains(".rm", StringComparison.Ordinal)
                || (instruction.Contains(".rz", StringComparison.Ordinal) && exact > 0);
            Assert.True(down ? got <= exact && MathF.BitIncrement(got) > exact : got >= exact && MathF.BitDecrement(got) < exact,
                $"{x} {y}: {got:r}");
        }
    }

    [Theory]
    [InlineData("add.f32 d, a, b;", 0x7f800000u, 0xff800000u, 0x7fffffffu)]
    [InlineData("mul.f32 d, a, b;", 0x00000001u, 0x3f800000u, 0x00000001u)]
    [InlineData("mul.ftz.f32 d, a, b;", 0x80000001u, 0x3f800000u, 0x80000000u)]
    [InlineData("min.f32 d, a, b;", 0x7fc00000u, 0x3f800000u, 0x3f800000u)]
    [InlineData("min.NaN.f32 d, a, b;", 0x7fc00000u, 0x3f800000u, 0x7fffffffu)]
    [InlineData("max.f32 d, a, b;", 0x80000000u, 0x00000000u, 0x00000000u)]
    [InlineData("add.sat.f32 d, a, b;", 0x40000000u, 0x3f800000u, 0x3f800000u)]
    [InlineData("add.sat.f32 d, a, b;", 0x7fc00000u, 0x3f800000u, 0x00000000u)]
    [InlineData("cvt.rzi.s32.f32 d, a;", 0x7fc00000u, 0u, 0u)]
    [InlineData("cvt.rzi.s32.f32 d, a;", 0x4f800000u, 0u, 0x7fffffffu)]
    [InlineData("cvt.rzi.u32.f32 d, a;", 0xbf800000u, 0u, 0u)]
    [InlineData("cvt.rni.s32.f32 d, a;", 0x40200000u, 0u, 2u)]
    [InlineData("cvt.rmi.f32.f32 d, a;", 0xbf000000u, 0u, 0xbf800000u)]
    [InlineData("cvt.sat.f32.f32 d, a;", 0xc0000000u, 0u, 0u)]
    [InlineData("cvt.rna.tf32.f32 d, a;", 0x3f801000u, 0u, 0x3f802000u)]
    [InlineData("rcp.rn.f32 d, a;", 0x80000000u, 0u, 0xff800000u)]
    [InlineData("ex2.approx.f32 d, a;", 0x40400000u, 0u, 0x41000000u)]
    [InlineData("copysign.f32 d, a, b;", 0x80000000u, 0x40000000u, 0xc0000000u)]
    public void SpecialFloats(string instruction, uint a, uint b, uint expected) =>
        Assert.Equal(expected, (uint)PtxSnippet.Run1(instruction, "b32", "b32", a, b));

    [Fact]
    public void WideIntegersBecomeFloatsWithOneRounding()
    {
        ulong[] values = [0, 1, ulong.MaxValue, ulong.MaxValue - 1024, 0x8000_0080_0000_0001, 0x8000_0080_0000_0000, 0x0100_0001_0000_0001,
            16777217, 0x8000_0000_0000_0000, 0x7fff_ffff_ffff_ffff];
        ulong[] result = PtxSnippet.Run("cvt.rn.f32.u64 d, a;", "b32", "b64", values);
        for (int i = 0; i < values.Length; i++)
        {
            // The two neighbours among the floats, and which of them is nearer, in whole numbers.
            float got = BitConverter.UInt32BitsToSingle((uint)result[i]);
            BigInteger error = BigInteger.Abs(new BigInteger(got) - values[i]);
            foreach (float other in (float[])[MathF.BitIncrement(got),
                MathF.BitDecrement(got)]) Assert.True(error <= BigInteger.Abs(new BigInteger(other) - values[i]),
                    $"{values[i]} became {got:r}");
        }
    }

    [Fact]
    public void ShufflesMoveValuesBetweenLanes()
    {
        ulong[] lanes = [.. Enumerable.Range(0, 64).Select(i => (ulong)i * 3)];
        ulong From(int i, int lane) => lanes[i / 32 * 32 + lane];
        Assert.Equal([.. lanes.Select((_, i) => From(i, i % 32 ^ 5))],
            PtxSnippet.Run("shfl.sync.bfly.b32 d, a, 5, 31, -1;", "b32", "b32", lanes));
        Assert.Equal([.. lanes.Select((_, i) => From(i, i % 32 >= 3 ? i % 32 - 3 : i % 32))],
            PtxSnippet.Run("shfl.sync.up.b32 d, a, 3, 0, -1;", "b32", "b32", lanes));
        Assert.Equal([.. lanes.Select((_, i) => i % 8 < 6 ? From(i, i % 32 + 2) : From(i, i % 32) + 1000)],
            PtxSnippet.Run("shfl.sync.down.b32 d|p, a, 2, 0x181f, -1;\n@!p add.u32 d, d, 1000;", "b32", "b32", lanes));
        Assert.Equal([.. lanes.Select((_, i) => From(i, 9))], PtxSnippet.Run("shfl.sync.idx.b32 d, a, 9, 31, -1;", "b32", "b32", lanes));
        Assert.All(PtxSnippet.Run("and.b32 t0, a, 1;\nsetp.eq.u32 p, t0, 1;\nvote.sync.ballot.b32 d, p, -1;", "b32", "b32", lanes),
            v => Assert.Equal(0xaaaaaaaau, v));
        Assert.Equal([.. lanes.Select((_, i) => i < 32 ? 93ul : 189)], PtxSnippet.Run("redux.sync.max.u32 d, a, -1;", "b32", "b32", lanes));
    }

    private static (ulong[] A, ulong[] B) Pairs(uint[] values)
    {
        var a = new List<ulong>();
        var b = new List<ulong>();
        foreach (uint x in values)
        {
            foreach (uint y in values)
            {
                a.Add(x);
                b.Add(y);
            }
        }
        while (a.Count % 64 != 0)
        {
            a.Add(1);
            b.Add(1);
        }
        return ([.. a], [.. b]);
    }

    /// <summary>a · b + c in whole multiples of 2^-48, rounded to nearest even.</summary>
    private static ushort ExactFma(ushort a, ushort b, ushort c)
    {
        static BigInteger Units(ushort bits)
        {
            int exponent = bits >> 10 & 31, fraction = bits & 1023;
            BigInteger magnitude = exponent == 0 ? fraction : new BigInteger(fraction | 1024) << (exponent - 1);
            return (bits & 0x8000) != 0 ? -magnitude : magnitude;
        }
        BigInteger exact = Units(a) * Units(b) + (Units(c) << 24), magnitude = BigInteger.Abs(exact);
        int drop = Math.Max(24, (int)magnitude.GetBitLength() - 11);
        BigInteger quotient = magnitude >> drop, rest = magnitude - (quotient << drop), tie = BigInteger.One << (drop - 1);
        if (rest > tie || (rest == tie && !quotient.IsEven)) quotient++;
        if (quotient == 2048)
        {
            quotient = 1024;
            drop++;
        }
        int exponentBits = quotient < 1024 ? 0 : drop - 24 + 1;
        int result = exponentBits >= 31 ? 0x7c00 : exponentBits << 10 | ((int)quotient & 1023);
        return (ushort)(result | (exact.Sign < 0 ? 0x8000 : 0));
    }
}
