using System.Numerics;
using Xunit;

namespace DwrSeg.PtxEmulator.Tests.Arithmetic;

public class IntegerInstructionTests
{
    private static readonly (string Type, int Bits, bool Signed)[] Types =
        [("s16", 16, true), ("u16", 16, false), ("s32", 32, true), ("u32", 32, false), ("s64", 64, true), ("u64", 64, false)];

    private static readonly Dictionary<string, InstructionCase> Cases = All().ToDictionary(c => c.Text);

    public static TheoryData<string> Instructions => [.. Cases.Keys];

    [Theory]
    [MemberData(nameof(Instructions))]
    public void EachInstructionIsTheBigIntegersResult(string instruction) => InstructionSweep.Check(Cases[instruction]);

    private static IEnumerable<InstructionCase> All() =>
        [.. Arithmetic(), .. Shifts(), .. Bits(), .. Comparisons(), .. Packed(), .. Carries(), .. Conversions(), .. ByteWise()];

    // Division by zero is undefined in PTX, and so is the smallest number divided by -1; both are left out.
    private static IEnumerable<InstructionCase> Arithmetic()
    {
        foreach ((string type, int bits, bool signed) in Types)
        {
            char k = Kind(bits);
            string b = $"b{bits}", two = new(k, 2), three = new(k, 3), wideSum = $"{k}{k}{(bits == 16 ? 'w' : 'd')}";
            BigInteger V(ulong x) => Value(x, bits, signed);
            ulong R(BigInteger x) => Wrap(x, bits);
            IReadOnlyList<ulong> nonZero = [.. InstructionSweep.Integers(bits).Where(x => x != 0)];
            IReadOnlyList<ulong> divisors = signed ? [.. nonZero.Where(x => V(x) != -1)] : nonZero;
            yield return new($"add.{type} %d, %a, %b;", b, two, (x, y, _) => R(V(x) + V(y)));
            yield return new($"sub.{type} %d, %a, %b;", b, two, (x, y, _) => R(V(x) - V(y)));
            yield return new($"mul.lo.{type} %d, %a, %b;", b, two, (x, y, _) => R(V(x) * V(y)));
            yield return new($"mul.hi.{type} %d, %a, %b;", b, two, (x, y, _) => R(V(x) * V(y) >> bits));
            yield return new($"mad.lo.{type} %d, %a, %b, %c;", b, three, (x, y, z) => R(V(x) * V(y) + V(z)));
            if (bits > 16) yield return new($"mad.hi.{type} %d, %a, %b, %c;", b, three, (x, y, z) => R((V(x) * V(y) >> bits) + V(z)));
            if (bits < 64)
            {
                yield return new($"mul.wide.{type} %d, %a, %b;", $"b{2 * bits}", two, (x, y, _) => Wrap(V(x) * V(y), 2 * bits));
                yield return new($"mad.wide.{type} %d, %a, %b, %c;", $"b{2 * bits}", wideSum,
                    (x, y, z) => Wrap(V(x) * V(y) + Value(z, 2 * bits, signed), 2 * bits));
            }
            IReadOnlyList<ulong>?[] division = [null, divisors];
            yield return new($"div.{type} %d, %a, %b;", b, two, (x, y, _) => R(BigInteger.Divide(V(x), V(y)))) { Inputs = division };
            yield return new($"rem.{type} %d, %a, %b;", b, two, (x, y, _) => R(BigInteger.Remainder(V(x), V(y)))) { Inputs = division };
            yield return new($"min.{type} %d, %a, %b;", b, two, (x, y, _) => R(BigInteger.Min(V(x), V(y))));
            yield return new($"max.{type} %d, %a, %b;", b, two, (x, y, _) => R(BigInteger.Max(V(x), V(y))));
            if (bits == 32) yield return new($"sad.{type} %d, %a, %b, %c;", b, three, (x, y, z) => R(V(z) + BigInteger.Abs(V(x) - V(y))));
            if (!signed) continue;
            yield return new($"abs.{type} %d, %a;", b, $"{k}", (x, _, _) => R(BigInteger.Abs(V(x))));
            yield return new($"neg.{type} %d, %a;", b, $"{k}", (x, _, _) => R(-V(x)));
        }
        static BigInteger S(ulong x) => Value(x, 32, true);
        yield return new("add.sat.s32 %d, %a, %b;", "b32", "ww", (x, y, _) => Wrap(Clamp(S(x) + S(y), 32, true), 32));
        yield return new("sub.sat.s32 %d, %a, %b;", "b32", "ww", (x, y, _) => Wrap(Clamp(S(x) - S(y), 32, true), 32));
        yield return new("mul24.lo.u32 %d, %a, %b;", "b32", "ww", (x, y, _) => (x & 0xFFFFFF) * (y & 0xFFFFFF) & uint.MaxValue);
    }

    // Shift counts beyond the width give zero or the sign, not the count modulo the width.
    private static IEnumerable<InstructionCase> Shifts()
    {
        foreach (int bits in new[] { 16, 32, 64 })
        {
            char k = Kind(bits);
            string sources = $"{k}w";
            IReadOnlyList<ulong> counts = [0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 0x80000000, uint.MaxValue];
            InstructionCase Shift(string type, Func<ulong, int, BigInteger> shifted) =>
                new($"{type}{bits} %d, %a, %b;", $"b{bits}", sources, (x, n, _) => Wrap(shifted(x, (int)Math.Min(n, 64)), bits))
                {
                    Inputs = [InstructionSweep.Integers(bits), counts],
                };
            yield return Shift("shl.b", (x, n) => (BigInteger)x << n);
            yield return Shift("shr.u", (x, n) => (BigInteger)x >> n);
            yield return Shift("shr.b", (x, n) => (BigInteger)x >> n);
            yield return Shift("shr.s", (x, n) => Value(x, bits, true) >> n);
        }
        (string Mode, Func<ulong, int> Count)[] modes = [("wrap", n => (int)(n & 31)), ("clamp", n => (int)Math.Min(n, 32))];
        foreach ((string mode, Func<ulong, int> count) in modes)
        {
            yield return new($"shf.l.{mode}.b32 %d, %a, %b, %c;", "b32", "www", (lo, hi, n) =>
                Wrap(((BigInteger)(hi << 32 | lo) << count(n)) >> 32, 32));
            yield return new($"shf.r.{mode}.b32 %d, %a, %b, %c;", "b32", "www", (lo, hi, n) =>
                Wrap((BigInteger)(hi << 32 | lo) >> count(n), 32));
        }
    }

    private static IEnumerable<InstructionCase> Bits()
    {
        foreach (int bits in new[] { 16, 32, 64 })
        {
            string b = $"b{bits}", one = $"{Kind(bits)}", two = new(Kind(bits), 2);
            ulong mask = (ulong)Wrap(-1, bits);
            yield return new($"and.{b} %d, %a, %b;", b, two, (x, y, _) => x & y);
            yield return new($"or.{b} %d, %a, %b;", b, two, (x, y, _) => x | y);
            yield return new($"xor.{b} %d, %a, %b;", b, two, (x, y, _) => x ^ y);
            yield return new($"not.{b} %d, %a;", b, one, (x, _, _) => ~x & mask);
            if (bits == 32) yield return new($"cnot.{b} %d, %a;", b, one, (x, _, _) => x == 0 ? 1ul : 0);
            if (bits == 16) continue;
            yield return new($"popc.{b} %d, %a;", "b32", one, (x, _, _) => (ulong)BitOperations.PopCount(x));
            yield return new($"clz.{b} %d, %a;", "b32", one, (x, _, _) => (ulong)(BitOperations.LeadingZeroCount(x) - (64 - bits)));
            yield return new($"brev.{b} %d, %a;", b, one, (x, _, _) => Reverse(x, bits));
            foreach (bool signed in new[] { false, true })
            {
                string type = $"{(signed ? 's' : 'u')}{bits}";
                ulong Found(ulong x)
                {
                    if (signed && (x >> (bits - 1) & 1) != 0) x = ~x & mask;
                    return x == 0 ? uint.MaxValue : (ulong)BitOperations.Log2(x);
                }
                yield return new($"bfind.{type} %d, %a;", "b32", one, (x, _, _) => Found(x));
                yield return new($"bfind.shiftamt.{type} %d, %a;", "b32", one, (x, _, _) =>
                    Found(x) == uint.MaxValue ? uint.MaxValue : (ulong)bits - 1 - Found(x));
                if (bits == 32)
                {
                    foreach ((string mode, bool clamps) in new[] { ("clamp", true), ("wrap", false) })
                    {
                        yield return new($"szext.{mode}.{type} %d, %a, %b;", b, "ww", (x, n, _) =>
                        {
                            if (clamps && n > 31) return x;
                            BigInteger low = new BigInteger(x) % (BigInteger.One << (int)(n & 31));
                            bool negative = signed && (n & 31) != 0 && (low >> ((int)(n & 31) - 1)) != 0;
                            return (ulong)Wrap(negative ? low - (BigInteger.One << (int)(n & 31)) : low, 32);
                        });
                    }
                }
                yield return new($"bfe.{type} %d, %a, %b, %c;", b, $"{one}ww", (x, at, length) =>
                    Extract(x, (int)(at & 255), (int)(length & 255), bits, signed));
            }
            yield return new($"bfi.{b} %d, %a, %b, %c, 5;", b, $"{two}w", (x, y, at) => Insert(x, y, (int)(at & 255), 5, bits));
            yield return new($"bfi.{b} %d, %a, %b, 3, %c;", b, $"{two}w", (x, y, length) => Insert(x, y, 3, (int)(length & 255), bits));
        }
        foreach (int table in new[] { 0x00, 0x1A, 0x80, 0x96, 0xB8, 0xCA, 0xE8, 0xFE, 0xFF })
        {
            yield return new($"lop3.b32 %d, %a, %b, %c, {table};", "b32", "www", (x, y, z) =>
            {
                ulong result = 0;
                for (int i = 0; i < 32; i++)
                {
                    int row = (int)((x >> i & 1) << 2 | (y >> i & 1) << 1 | z >> i & 1);
                    result |= (ulong)(table >> row & 1) << i;
                }
                return result;
            });
        }
    }

    private static IEnumerable<InstructionCase> Comparisons()
    {
        (string Name, Func<BigInteger, BigInteger, bool> Holds)[] tests =
        [
            ("eq", (x, y) => x == y), ("ne", (x, y) => x != y), ("lt", (x, y) => x < y), ("le", (x, y) => x <= y),
            ("gt", (x, y) => x > y), ("ge", (x, y) => x >= y),
        ];
        foreach ((string type, int bits, bool signed) in Types)
        {
            string two = new(Kind(bits), 2);
            foreach ((string name, Func<BigInteger, BigInteger, bool> holds) in tests)
            {
                yield return new($"setp.{name}.{type} %d, %a, %b;", "pred", two, (x, y, _) =>
                    holds(Value(x, bits, signed), Value(y, bits, signed)) ? 1ul : 0);
            }
            yield return new($"set.gt.u32.{type} %d, %a, %b;", "b32", two, (x, y, _) =>
                Value(x, bits, signed) > Value(y, bits, signed) ? uint.MaxValue : 0ul);
        }
        yield return new("setp.lo.u32 %d, %a, %b;", "pred", "ww", (x, y, _) => x < y ? 1ul : 0);
        yield return new("setp.hs.u32 %d, %a, %b;", "pred", "ww", (x, y, _) => x >= y ? 1ul : 0);
        yield return new("setp.ne.u32 %q, %c, 0;\nsetp.lt.and.s32 %d, %a, %b, %q;", "pred", "www",
            (x, y, z) => Value(x, 32, true) < Value(y, 32, true) && z != 0 ? 1ul : 0);
        yield return new("setp.ne.u32 %q, %c, 0;\nsetp.lt.xor.s32 %d, %a, %b, !%q;", "pred", "www",
            (x, y, z) => Value(x, 32, true) < Value(y, 32, true) != (z == 0) ? 1ul : 0);
        yield return new("setp.ne.u32 %q, %c, 0;\nselp.b32 %d, %a, %b, %q;", "b32", "www", (x, y, z) => z != 0 ? x : y);
        yield return new("slct.b32.s32 %d, %a, %b, %c;", "b32", "www", (x, y, z) => Value(z, 32, true) >= 0 ? x : y);
    }

    private static IEnumerable<InstructionCase> Packed()
    {
        foreach ((string first, bool firstSigned) in new[] { ("u32", false), ("s32", true) })
        {
            foreach ((string second, bool secondSigned) in new[] { ("u32", false), ("s32", true) })
            {
                yield return new($"dp4a.{first}.{second} %d, %a, %b, %c;", "b32", "www", (x, y, z) =>
                {
                    BigInteger sum = z;
                    for (int i = 0; i < 32; i += 8) sum += Value(x >> i & 255, 8, firstSigned) * Value(y >> i & 255, 8, secondSigned);
                    return Wrap(sum, 32);
                });
            }
        }
    }

    private static IEnumerable<InstructionCase> Carries()
    {
        yield return new("add.cc.u32 %w1, %a, %b;\naddc.u32 %d, %c, 0;", "b32", "www", (x, y, z) => z + (x + y >> 32) & uint.MaxValue);
        yield return new("sub.cc.u32 %w1, %a, %b;\nsubc.u32 %d, %c, 0;", "b32", "www", (x, y, z) => z - (x < y ? 1ul : 0) & uint.MaxValue);
        yield return new("mad.lo.cc.u32 %w1, %a, %b, %c;\nmadc.hi.u32 %d, %a, %b, 0;", "b32", "www", (x, y, z) =>
            Wrap((BigInteger)x * y + z >> 32, 32));
    }

    private static IEnumerable<InstructionCase> Conversions()
    {
        foreach ((string from, int fromBits, bool fromSigned) in Types)
        {
            foreach ((string to, int toBits, bool toSigned) in Types)
            {
                if (from == to) continue;
                yield return new($"cvt.{to}.{from} %d, %a;", $"b{toBits}", $"{Kind(fromBits)}", (x, _, _) =>
                    Wrap(Value(x, fromBits, fromSigned), toBits));
                // Saturation is allowed only where there is something to saturate.
                bool holdsAll = toSigned == fromSigned ? toBits >= fromBits : toSigned && toBits > fromBits;
                if (holdsAll) continue;
                yield return new($"cvt.sat.{to}.{from} %d, %a;", $"b{toBits}", $"{Kind(fromBits)}",
                    (x, _, _) => Wrap(Clamp(Value(x, fromBits, fromSigned), toBits, toSigned), toBits));
            }
            // To 8 bits in a wider register: the value is extended by its own sign.
            yield return new($"cvt.s8.{from} %d, %a;", "b32", $"{Kind(fromBits)}", (x, _, _) => Wrap(Value(x & 255, 8, true), 32));
            yield return new($"cvt.u8.{from} %d, %a;", "b32", $"{Kind(fromBits)}", (x, _, _) => x & 255);
        }
        yield return new("cvt.sat.u8.s32 %d, %a;", "b32", "w", (x, _, _) => Wrap(Clamp(Value(x, 32, true), 8, false), 32));
        yield return new("cvt.sat.s8.s32 %d, %a;", "b32", "w", (x, _, _) => Wrap(Clamp(Value(x, 32, true), 8, true), 32));
    }

    private static IEnumerable<InstructionCase> ByteWise()
    {
        static int[] Generic(ulong c) => [.. Enumerable.Range(0, 4).Select(i => (int)(c >> (4 * i) & 15))];
        static ulong Pick(ulong x, ulong y, int selector)
        {
            ulong value = (y << 32 | x) >> (8 * (selector & 7)) & 255;
            return (selector & 8) == 0 ? value : value >= 128 ? 255ul : 0;
        }
        static ulong Permute(ulong x, ulong y, int[] selectors) =>
            selectors.Select((s, i) => Pick(x, y, s) << (8 * i)).Aggregate(0ul, (all, one) => all | one);
        (string Mode, Func<int, int[]> Selectors)[] modes =
        [
            (".f4e", s => [s, s + 1, s + 2, s + 3]), (".b4e", s => [s, (s + 7) & 7, (s + 6) & 7, (s + 5) & 7]), (".rc8", s => [s, s, s, s]),
            (".ecl", s => [Math.Max(0, s), Math.Max(1, s), Math.Max(2, s), 3]), (".ecr", s => [0, Math.Min(1, s), Math.Min(2, s), s]),
            (".rc16", s => (s & 1) == 0 ? [0, 1, 0, 1] : [2, 3, 2, 3]),
        ];
        IReadOnlyList<ulong> controls = [0x3210, 0x7654, 0x5410, 0x7632, 0xFEDC, 0x89AB, 0x0000, 0x1B3D, 0xFFFF3210];
        IReadOnlyList<ulong>?[] inputs = [null, null, controls];
        yield return new("prmt.b32 %d, %a, %b, %c;", "b32", "www", (x, y, c) => Permute(x, y, Generic(c))) { Inputs = inputs };
        foreach ((string mode, Func<int, int[]> selectors) in modes)
        {
            yield return new($"prmt.b32{mode} %d, %a, %b, %c;", "b32", "www",
                (x, y, c) => Permute(x, y, selectors((int)(c & 3)))) { Inputs = [null, null, [0, 1, 2, 3, 4, 0xFFFFFFFE]] };
        }
    }

    private static char Kind(int bits) => bits == 16 ? 'h' : bits == 32 ? 'w' : 'd';

    private static BigInteger Value(ulong x, int bits, bool signed) =>
        signed && (x >> (bits - 1) & 1) != 0 ? (BigInteger)x - (BigInteger.One << bits) : x;

    private static ulong Wrap(BigInteger x, int bits) => (ulong)(x & ((BigInteger.One << bits) - 1));

    private static BigInteger Clamp(BigInteger x, int bits, bool signed)
    {
        BigInteger low = signed ? -(BigInteger.One << (bits - 1)) : 0, high = (BigInteger.One << (signed ? bits - 1 : bits)) - 1;
        return BigInteger.Max(low, BigInteger.Min(high, x));
    }

    private static ulong Reverse(ulong x, int bits) =>
        Enumerable.Range(0, bits).Aggregate(0ul, (result, i) => result | (x >> i & 1) << (bits - 1 - i));

    // Bits beyond the source's end repeat the sign of the field: its last bit that lies inside.
    private static ulong Extract(ulong x, int at, int length, int bits, bool signed)
    {
        bool sign = signed && length > 0 && (x >> Math.Min(at + length - 1, bits - 1) & 1) != 0;
        ulong result = 0;
        for (int i = 0; i < bits; i++)
        {
            bool bit = i < length && at + i < bits ? (x >> (at + i) & 1) != 0 : sign;
            if (bit) result |= 1ul << i;
        }
        return result;
    }

    private static ulong Insert(ulong field, ulong into, int at, int length, int bits)
    {
        for (int i = 0; i < length && at + i < bits; i++)
        {
            ulong bit = 1ul << (at + i);
            into = into & ~bit | (field >> i & 1) << (at + i);
        }
        return into;
    }
}
