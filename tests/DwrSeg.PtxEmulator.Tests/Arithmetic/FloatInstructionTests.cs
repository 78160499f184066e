using System.Numerics;
using Xunit;

namespace DwrSeg.PtxEmulator.Tests.Arithmetic;

/// <summary>Each floating-point instruction against exact arithmetic; NaN results may carry any payload.</summary>
public class FloatInstructionTests
{
    private static readonly (string Suffix, Rounding Rounding)[] Roundings =
        [("rn", Rounding.Nearest), ("rz", Rounding.Zero), ("rm", Rounding.Down), ("rp", Rounding.Up)];

    private static readonly (string Suffix, Rounding Rounding)[] ToIntegers =
        [("rni", Rounding.Nearest), ("rzi", Rounding.Zero), ("rmi", Rounding.Down), ("rpi", Rounding.Up)];

    private static readonly (string Type, FloatFormat Format)[] Scalars =
        [("f16", FloatFormat.F16), ("bf16", FloatFormat.BF16), ("f32", FloatFormat.F32), ("f64", FloatFormat.F64)];

    private static readonly (string Type, int Bits, bool Signed)[] Integers =
        [("s16", 16, true), ("u16", 16, false), ("s32", 32, true), ("u32", 32, false), ("s64", 64, true), ("u64", 64, false)];

    private static readonly Dictionary<string, InstructionCase> Cases = All().ToDictionary(c => c.Text);

    public static TheoryData<string> Instructions => [.. Cases.Keys];

    [Theory]
    [MemberData(nameof(Instructions))]
    public void EachInstructionIsTheExactResultRounded(string instruction) => InstructionSweep.Check(Cases[instruction]);

    [Theory]
    [InlineData("fma.rn.f16 %d, %a, %b, %c;", 11)]
    [InlineData("fma.rn.bf16 %d, %a, %b, %c;", 8)]
    [InlineData("fma.rn.f32 %d, %a, %b, %c;", 24)]
    public void AFusedMultiplyAddRoundsOnce(string instruction, int precision)
    {
        FloatFormat f = Scalars.Single(s => s.Format.Precision == precision).Format;
        // Odd products of one bit more than the format has lie halfway between two numbers; the smallest addend decides.
        ulong[] factors = [3, 5, 7, 9, 11];
        BigInteger half = BigInteger.One << precision;
        IReadOnlyList<ulong> Numbers(IEnumerable<BigInteger> values) =>
            [.. values.Select(v => f.Round(new Exact(false, v, 0), Rounding.Nearest))];
        IReadOnlyList<ulong> others = Numbers(
            factors.SelectMany(p => Enumerable.Range(0, 9).Select(i => (half / p + 1 + i * half / p / 9) | 1)));
        IReadOnlyList<ulong> addends = [0, f.SignBit, 1, f.SignBit | 1, f.One, f.SignBit | f.One];
        InstructionSweep.Check(Case(instruction, f, 3, (x, y, z) => f.MultiplyAdd(x, y, z, Rounding.Nearest)) with
        {
            Inputs = [Numbers(factors.Select(p => (BigInteger)p)), others, addends],
        });
    }

    private static IEnumerable<InstructionCase> All() =>
    [
        .. Single(), .. Double(), .. Half(), .. Packed(), .. PackedSaturation(), .. MinMax(), .. Comparisons(), .. FloatToFloat(),
        .. FloatToInteger(), .. IntegerToFloat(), .. PackedConversions(),
    ];

    private static IEnumerable<InstructionCase> Single()
    {
        FloatFormat f = FloatFormat.F32;
        foreach ((string r, Rounding rounding) in Roundings)
        {
            foreach ((string ftz, Func<ulong, ulong> flush) in Flushes(f))
            {
                yield return Case($"add.{r}{ftz}.f32 %d, %a, %b;", f, 2, (x, y, _) => flush(f.Add(flush(x), flush(y), rounding)));
                yield return Case($"sub.{r}{ftz}.f32 %d, %a, %b;", f, 2, (x, y, _) =>
                    flush(f.Add(flush(x), Negate(f, flush(y)), rounding)));
                yield return Case($"mul.{r}{ftz}.f32 %d, %a, %b;", f, 2, (x, y, _) => flush(f.Multiply(flush(x), flush(y), rounding)));
                yield return Case($"fma.{r}{ftz}.f32 %d, %a, %b, %c;", f, 3, (x, y, z) =>
                    flush(f.MultiplyAdd(flush(x), flush(y), flush(z), rounding)));
                yield return Case($"div.{r}{ftz}.f32 %d, %a, %b;", f, 2, (x, y, _) => flush(f.Divide(flush(x), flush(y), rounding)));
                yield return Case($"rcp.{r}{ftz}.f32 %d, %a;", f, 1, (x, _, _) => flush(f.Divide(f.One, flush(x), rounding)));
                yield return Case($"sqrt.{r}{ftz}.f32 %d, %a;", f, 1, (x, _, _) => flush(f.SquareRoot(flush(x), rounding)));
            }
            yield return Case($"add.{r}.sat.f32 %d, %a, %b;", f, 2, (x, y, _) => f.Saturate(f.Add(x, y, rounding)));
            yield return Case($"mul.{r}.sat.f32 %d, %a, %b;", f, 2, (x, y, _) => f.Saturate(f.Multiply(x, y, rounding)));
            yield return Case($"fma.{r}.sat.f32 %d, %a, %b, %c;", f, 3, (x, y, z) => f.Saturate(f.MultiplyAdd(x, y, z, rounding)));
        }
        yield return Case("add.f32 %d, %a, %b;", f, 2, (x, y, _) => f.Add(x, y, Rounding.Nearest));
        yield return Case("mul.f32 %d, %a, %b;", f, 2, (x, y, _) => f.Multiply(x, y, Rounding.Nearest));
        yield return Case("abs.f32 %d, %a;", f, 1, (x, _, _) => x & ~f.SignBit);
        yield return Case("neg.f32 %d, %a;", f, 1, (x, _, _) => Negate(f, x));
        yield return Case("abs.ftz.f32 %d, %a;", f, 1, (x, _, _) => f.Flush(x) & ~f.SignBit);
        yield return Case("neg.ftz.f32 %d, %a;", f, 1, (x, _, _) => Negate(f, f.Flush(x)));
        yield return Case("copysign.f32 %d, %a, %b;", f, 2, (x, y, _) => y & ~f.SignBit | x & f.SignBit);
        yield return Test("testp.finite.f32 %d, %a;", x => !f.IsNaN(x) && !f.IsInfinite(x));
        yield return Test("testp.infinite.f32 %d, %a;", f.IsInfinite);
        yield return Test("testp.number.f32 %d, %a;", x => !f.IsNaN(x));
        yield return Test("testp.notanumber.f32 %d, %a;", f.IsNaN);
        yield return Test("testp.normal.f32 %d, %a;", x => !f.IsNaN(x) && !f.IsInfinite(x) && !f.IsZero(x) && !f.IsSubnormal(x));
        yield return Test("testp.subnormal.f32 %d, %a;", f.IsSubnormal);
        InstructionCase Test(string text, Func<ulong, bool> holds) =>
            new(text, "pred", "w", (x, _, _) => holds(x) ? 1ul : 0) { Inputs = [InstructionSweep.Floats(f)] };
    }

    private static IEnumerable<InstructionCase> Double()
    {
        FloatFormat f = FloatFormat.F64;
        foreach ((string r, Rounding rounding) in Roundings.Take(1))
        {
            yield return Case($"add.{r}.f64 %d, %a, %b;", f, 2, (x, y, _) => f.Add(x, y, rounding));
            yield return Case($"sub.{r}.f64 %d, %a, %b;", f, 2, (x, y, _) => f.Add(x, Negate(f, y), rounding));
            yield return Case($"mul.{r}.f64 %d, %a, %b;", f, 2, (x, y, _) => f.Multiply(x, y, rounding));
            yield return Case($"fma.{r}.f64 %d, %a, %b, %c;", f, 3, (x, y, z) => f.MultiplyAdd(x, y, z, rounding));
            yield return Case($"div.{r}.f64 %d, %a, %b;", f, 2, (x, y, _) => f.Divide(x, y, rounding));
            yield return Case($"rcp.{r}.f64 %d, %a;", f, 1, (x, _, _) => f.Divide(f.One, x, rounding));
            yield return Case($"sqrt.{r}.f64 %d, %a;", f, 1, (x, _, _) => f.SquareRoot(x, rounding));
        }
        yield return Case("abs.f64 %d, %a;", f, 1, (x, _, _) => x & ~f.SignBit);
        yield return Case("neg.f64 %d, %a;", f, 1, (x, _, _) => Negate(f, x));
    }

    private static IEnumerable<InstructionCase> Half()
    {
        foreach ((string type, FloatFormat f) in Scalars.Take(2))
        {
            yield return Case($"add.rn.{type} %d, %a, %b;", f, 2, (x, y, _) => f.Add(x, y, Rounding.Nearest));
            yield return Case($"sub.rn.{type} %d, %a, %b;", f, 2, (x, y, _) => f.Add(x, Negate(f, y), Rounding.Nearest));
            yield return Case($"mul.rn.{type} %d, %a, %b;", f, 2, (x, y, _) => f.Multiply(x, y, Rounding.Nearest));
            yield return Case($"fma.rn.{type} %d, %a, %b, %c;", f, 3, (x, y, z) => f.MultiplyAdd(x, y, z, Rounding.Nearest));
            yield return Case($"fma.rn.relu.{type} %d, %a, %b, %c;", f, 3, (x, y, z) => Relu(f, f.MultiplyAdd(x, y, z, Rounding.Nearest)));
            yield return Case($"neg.{type} %d, %a;", f, 1, (x, _, _) => Negate(f, x));
            yield return Case($"abs.{type} %d, %a;", f, 1, (x, _, _) => x & ~f.SignBit);
        }
        FloatFormat h = FloatFormat.F16;
        yield return Case("add.f16 %d, %a, %b;", h, 2, (x, y, _) => h.Add(x, y, Rounding.Nearest));
        yield return Case("add.ftz.f16 %d, %a, %b;", h, 2, (x, y, _) => h.Flush(h.Add(h.Flush(x), h.Flush(y), Rounding.Nearest)));
        yield return Case("mul.ftz.f16 %d, %a, %b;", h, 2, (x, y, _) => h.Flush(h.Multiply(h.Flush(x), h.Flush(y), Rounding.Nearest)));
        yield return Case("add.sat.f16 %d, %a, %b;", h, 2, (x, y, _) => h.Saturate(h.Add(x, y, Rounding.Nearest)));
        yield return Case("fma.rn.sat.f16 %d, %a, %b, %c;", h, 3, (x, y, z) => h.Saturate(h.MultiplyAdd(x, y, z, Rounding.Nearest)));
        yield return Case("sub.sat.f16 %d, %a, %b;", h, 2, (x, y, _) => h.Saturate(h.Add(x, Negate(h, y), Rounding.Nearest)));
        yield return Case("mul.ftz.sat.f16 %d, %a, %b;", h, 2,
            (x, y, _) => h.Saturate(h.Flush(h.Multiply(h.Flush(x), h.Flush(y), Rounding.Nearest))));
        yield return Case("fma.rn.ftz.f16 %d, %a, %b, %c;", h, 3,
            (x, y, z) => h.Flush(h.MultiplyAdd(h.Flush(x), h.Flush(y), h.Flush(z), Rounding.Nearest)));
        yield return Case("neg.ftz.f16 %d, %a;", h, 1, (x, _, _) => Negate(h, h.Flush(x)));
        yield return Pair("abs.ftz.f16x2 %d, %a;", h, 1, (x, _, _) => h.Flush(x) & ~h.SignBit);
        yield return Case("max.ftz.f16 %d, %a, %b;", h, 2, (x, y, _) => Maximum(h, h.Flush(x), h.Flush(y), false));
    }

    // Two halves of a word; the second operands are paired crosswise so that a mix-up shows.
    private static IEnumerable<InstructionCase> Packed()
    {
        foreach ((string type, FloatFormat f) in Scalars.Take(2))
        {
            yield return Pair($"add.rn.{type}x2 %d, %a, %b;", f, 2, (x, y, _) => f.Add(x, y, Rounding.Nearest));
            yield return Pair($"sub.rn.{type}x2 %d, %a, %b;", f, 2, (x, y, _) => f.Add(x, Negate(f, y), Rounding.Nearest));
            yield return Pair($"mul.rn.{type}x2 %d, %a, %b;", f, 2, (x, y, _) => f.Multiply(x, y, Rounding.Nearest));
            yield return Pair($"fma.rn.{type}x2 %d, %a, %b, %c;", f, 3, (x, y, z) => f.MultiplyAdd(x, y, z, Rounding.Nearest));
            yield return Pair($"fma.rn.relu.{type}x2 %d, %a, %b, %c;", f, 3, (x, y, z) =>
                Relu(f, f.MultiplyAdd(x, y, z, Rounding.Nearest)));
            yield return Pair($"neg.{type}x2 %d, %a;", f, 1, (x, _, _) => Negate(f, x));
            yield return Pair($"abs.{type}x2 %d, %a;", f, 1, (x, _, _) => x & ~f.SignBit);
            yield return Pair($"min.{type}x2 %d, %a, %b;", f, 2, (x, y, _) => Minimum(f, x, y, false));
            yield return Pair($"max.{type}x2 %d, %a, %b;", f, 2, (x, y, _) => Maximum(f, x, y, false));
            yield return Pair($"min.NaN.{type}x2 %d, %a, %b;", f, 2, (x, y, _) => Minimum(f, x, y, true));
            yield return Pair($"max.NaN.{type}x2 %d, %a, %b;", f, 2, (x, y, _) => Maximum(f, x, y, true));
        }
    }

    private static IEnumerable<InstructionCase> PackedSaturation()
    {
        FloatFormat h = FloatFormat.F16;
        yield return Pair("add.sat.f16x2 %d, %a, %b;", h, 2, (x, y, _) => h.Saturate(h.Add(x, y, Rounding.Nearest)));
        yield return Pair("mul.sat.f16x2 %d, %a, %b;", h, 2, (x, y, _) => h.Saturate(h.Multiply(x, y, Rounding.Nearest)));
        yield return Pair("fma.rn.sat.f16x2 %d, %a, %b, %c;", h, 3, (x, y, z) => h.Saturate(h.MultiplyAdd(x, y, z, Rounding.Nearest)));
        yield return Pair("add.ftz.f16x2 %d, %a, %b;", h, 2, (x, y, _) => h.Flush(h.Add(h.Flush(x), h.Flush(y), Rounding.Nearest)));
        bool Greater(ulong x, ulong y) => !h.IsNaN(x) && !h.IsNaN(y) && Compare(h, x, y) > 0;
        InstructionCase both = Pair("setp.gt.f16x2 %d|%q, %a, %b;", h, 2, (x, y, _) => Greater(x, y) ? 1ul : 0);
        yield return both with { Result = "pred", Expected = (x, y, z) => both.Expected(x, y, z) & 1, Agrees = null };
        yield return both with
        {
            Text = "setp.gt.f16x2 %q|%d, %a, %b;", Result = "pred", Expected = (x, y, z) => both.Expected(x, y, z) >> 16, Agrees = null,
        };
    }

    private static IEnumerable<InstructionCase> MinMax()
    {
        foreach ((string type, FloatFormat f) in Scalars)
        {
            yield return Case($"min.{type} %d, %a, %b;", f, 2, (x, y, _) => Minimum(f, x, y, false));
            yield return Case($"max.{type} %d, %a, %b;", f, 2, (x, y, _) => Maximum(f, x, y, false));
            if (type == "f64") continue;
            yield return Case($"min.NaN.{type} %d, %a, %b;", f, 2, (x, y, _) => Minimum(f, x, y, true));
            yield return Case($"max.NaN.{type} %d, %a, %b;", f, 2, (x, y, _) => Maximum(f, x, y, true));
        }
        FloatFormat s = FloatFormat.F32;
        yield return Case("min.ftz.f32 %d, %a, %b;", s, 2, (x, y, _) => Minimum(s, s.Flush(x), s.Flush(y), false));
        yield return Case("max.ftz.f32 %d, %a, %b;", s, 2, (x, y, _) => Maximum(s, s.Flush(x), s.Flush(y), false));
    }

    private static IEnumerable<InstructionCase> Comparisons()
    {
        (string Name, Func<int, bool> Ordered)[] tests =
            [("eq", c => c == 0), ("ne", c => c != 0), ("lt", c => c < 0), ("le", c => c <= 0), ("gt", c => c > 0), ("ge", c => c >= 0)];
        foreach ((string type, FloatFormat f) in Scalars)
        {
            IReadOnlyList<ulong> values = InstructionSweep.Floats(f);
            string sources = new(Kind(f), 2);
            foreach ((string name, Func<int, bool> ordered) in tests)
            {
                yield return Predicate(
                    $"setp.{name}.{type} %d, %a, %b;", (x, y) => !f.IsNaN(x) && !f.IsNaN(y) && ordered(Compare(f, x, y)));
                yield return Predicate($"setp.{name}u.{type} %d, %a, %b;", (x, y) => f.IsNaN(x) || f.IsNaN(y) || ordered(Compare(f, x, y)));
            }
            yield return Predicate($"setp.num.{type} %d, %a, %b;", (x, y) => !f.IsNaN(x) && !f.IsNaN(y));
            yield return Predicate($"setp.nan.{type} %d, %a, %b;", (x, y) => f.IsNaN(x) || f.IsNaN(y));
            InstructionCase Predicate(string text, Func<ulong, ulong, bool> holds) =>
                new(text, "pred", sources, (x, y, _) => holds(x, y) ? 1ul : 0) { Inputs = [values, values] };
        }
        FloatFormat s = FloatFormat.F32;
        IReadOnlyList<ulong> floats = InstructionSweep.Floats(s);
        bool Less(ulong x, ulong y) => !s.IsNaN(x) && !s.IsNaN(y) && Compare(s, x, y) < 0;
        yield return new("setp.lt.ftz.f32 %d, %a, %b;", "pred", "ww", (x, y, _) => Less(s.Flush(x), s.Flush(y)) ? 1ul : 0)
        {
            Inputs = [floats, floats],
        };
        yield return new("set.lt.f32.f32 %d, %a, %b;", "b32", "ww", (x, y, _) => Less(x, y) ? s.One : 0) { Inputs = [floats, floats] };
        yield return new("set.lt.u32.f32 %d, %a, %b;", "b32", "ww", (x, y, _) => Less(x, y) ? uint.MaxValue : 0ul)
        {
            Inputs = [floats, floats],
        };
    }

    private static IEnumerable<InstructionCase> FloatToFloat()
    {
        foreach ((string from, FloatFormat f) in Scalars)
        {
            IReadOnlyList<ulong>[] inputs = [InstructionSweep.Floats(f)];
            foreach ((string to, FloatFormat t) in Scalars)
            {
                bool widens = t.Precision > f.Precision && t.Bits > f.Bits;
                bool halves = f.Bits == 16 && t.Bits == 16;
                if (from == to || halves || to == "bf16" && from == "f64" || from == "bf16" && to == "f64") continue;
                if (widens)
                {
                    yield return new($"cvt.{to}.{from} %d, %a;", $"b{t.Bits}", $"{Kind(f)}", (x, _, _) => f.Convert(x, t, Rounding.Nearest))
                    {
                        Inputs = inputs, Agrees = Same(t),
                    };
                    continue;
                }
                foreach ((string r, Rounding rounding) in Roundings.Take(to == "bf16" ? 2 : 4))
                {
                    yield return new($"cvt.{r}.{to}.{from} %d, %a;", $"b{t.Bits}", $"{Kind(f)}", (x, _, _) => f.Convert(x, t, rounding))
                    {
                        Inputs = [.. inputs.Select(i => (IReadOnlyList<ulong>)[.. i, .. Ties(f, t)])], Agrees = Same(t),
                    };
                }
            }
        }
        FloatFormat s = FloatFormat.F32;
        IReadOnlyList<ulong>[] singles = [InstructionSweep.Floats(s)];
        foreach ((string r, Rounding rounding) in ToIntegers)
        {
            yield return new($"cvt.{r}.f32.f32 %d, %a;", "b32", "w", (x, _, _) => RoundToInteger(s, x, rounding))
            {
                Inputs = singles, Agrees = Same(s),
            };
        }
        FloatFormat h = FloatFormat.F16, d = FloatFormat.F64;
        foreach ((string r, Rounding rounding) in ToIntegers)
        {
            yield return Case($"cvt.{r}.ftz.f32.f32 %d, %a;", s, 1, (x, _, _) => RoundToInteger(s, s.Flush(x), rounding));
            yield return Case($"cvt.{r}.f16.f16 %d, %a;", h, 1, (x, _, _) => RoundToInteger(h, x, rounding));
            yield return Case($"cvt.{r}.f64.f64 %d, %a;", d, 1, (x, _, _) => RoundToInteger(d, x, rounding));
        }
        yield return Case("cvt.ftz.f32.f32 %d, %a;", s, 1, (x, _, _) => s.Flush(x));
        yield return new("cvt.rn.ftz.f32.f64 %d, %a;", "b32", "d", (x, _, _) => s.Flush(d.Convert(x, s, Rounding.Nearest)))
        {
            Inputs = [[.. InstructionSweep.Floats(d), .. Ties(d, s)]], Agrees = Same(s),
        };
        yield return new("cvt.rn.ftz.f16.f32 %d, %a;", "b16", "w", (x, _, _) => s.Convert(s.Flush(x), h, Rounding.Nearest))
        {
            Inputs = singles, Agrees = Same(h),
        };
        yield return new("cvt.rn.sat.f16.f32 %d, %a;", "b16", "w", (x, _, _) => h.Saturate(s.Convert(x, h, Rounding.Nearest)))
        {
            Inputs = singles,
        };
        yield return new("cvt.rzi.ftz.s32.f32 %d, %a;", "b32", "w", (x, _, _) => ToInteger(s, s.Flush(x), Rounding.Zero, 32, true, 32))
        {
            Inputs = singles,
        };
        yield return new("cvt.rpi.ftz.s32.f32 %d, %a;", "b32", "w", (x, _, _) => ToInteger(s, s.Flush(x), Rounding.Up, 32, true, 32))
        {
            Inputs = singles,
        };
        yield return new("cvt.sat.f32.f32 %d, %a;", "b32", "w", (x, _, _) => s.Saturate(x)) { Inputs = singles };
        yield return new("cvt.rn.relu.bf16.f32 %d, %a;", "b16", "w", (x, _, _) =>
            Relu(FloatFormat.BF16, s.Convert(x, FloatFormat.BF16, Rounding.Nearest)))
        {
            Inputs = singles, Agrees = Same(FloatFormat.BF16),
        };
        yield return new("cvt.rna.tf32.f32 %d, %a;", "b32", "w", (x, _, _) => ToTf32(x)) { Inputs = singles, Agrees = Same(s) };
    }

    private static IEnumerable<InstructionCase> FloatToInteger()
    {
        foreach ((string from, FloatFormat f) in Scalars.Where(s => s.Type != "bf16"))
        {
            IReadOnlyList<ulong> inputs = [.. InstructionSweep.Floats(f), .. Integral(f)];
            foreach ((string to, int bits, bool signed) in new[] { ("s8", 8, true), ("u8", 8, false) }.Concat(Integers))
            {
                // What a NaN of 64 bits becomes in a byte is not said.
                IReadOnlyList<ulong> numbers = bits == 8 && f.Bits == 64 ? [.. inputs.Where(x => !f.IsNaN(x))] : inputs;
                foreach ((string r, Rounding rounding) in ToIntegers)
                {
                    int register = Math.Max(bits, 32);
                    string width = bits == 16 ? "b16" : $"b{register}";
                    yield return new($"cvt.{r}.{to}.{from} %d, %a;", width, $"{Kind(f)}",
                        (x, _, _) => ToInteger(f, x, rounding, bits, signed, bits == 16 ? 16 : register)) { Inputs = [numbers] };
                }
            }
        }
    }

    private static IEnumerable<InstructionCase> IntegerToFloat()
    {
        foreach ((string from, int bits, bool signed) in Integers)
        {
            foreach ((string to, FloatFormat t) in Scalars.Where(s => s.Type != "bf16"))
            {
                foreach ((string r, Rounding rounding) in Roundings)
                {
                    string source = bits == 16 ? "h" : bits == 32 ? "w" : "d";
                    yield return new($"cvt.{r}.{to}.{from} %d, %a;", $"b{t.Bits}", source, (x, _, _) =>
                    {
                        bool negative = signed && (x >> (bits - 1) & 1) != 0;
                        BigInteger magnitude = negative ? (BigInteger.One << bits) - x : x;
                        return t.Round(new Exact(negative, magnitude, 0), rounding);
                    });
                }
            }
        }
    }

    // The first source becomes the upper half.
    private static IEnumerable<InstructionCase> PackedConversions()
    {
        FloatFormat s = FloatFormat.F32;
        foreach ((string type, FloatFormat t) in Scalars.Take(2))
        {
            IReadOnlyList<ulong> inputs = [.. InstructionSweep.Floats(s), .. Ties(s, t)];
            foreach ((string r, Rounding rounding) in Roundings.Take(2))
            {
                yield return new($"cvt.{r}.{type}x2.f32 %d, %a, %b;", "b32", "ww",
                    (x, y, _) => s.Convert(x, t, rounding) << 16 | s.Convert(y, t, rounding))
                {
                    Inputs = [inputs, inputs], Agrees = SameHalves(t),
                };
            }
            yield return new($"cvt.rn.relu.{type}x2.f32 %d, %a, %b;", "b32", "ww",
                (x, y, _) => Relu(t, s.Convert(x, t, Rounding.Nearest)) << 16 | Relu(t, s.Convert(y, t, Rounding.Nearest)))
            {
                Inputs = [inputs, inputs], Agrees = SameHalves(t),
            };
        }
    }

    private static IEnumerable<(string Suffix, Func<ulong, ulong> Flush)> Flushes(FloatFormat f) => [("", x => x), (".ftz", f.Flush)];

    private static InstructionCase Case(string text, FloatFormat f, int sources, Func<ulong, ulong, ulong, ulong> expected) =>
        new(text, $"b{f.Bits}", new string(Kind(f), sources), expected)
        {
            Inputs = [.. Enumerable.Repeat(InstructionSweep.Floats(f), sources)], Agrees = Same(f),
        };

    private static InstructionCase Pair(string text, FloatFormat f, int sources, Func<ulong, ulong, ulong, ulong> expected)
    {
        IReadOnlyList<ulong> values = InstructionSweep.Floats(f);
        IReadOnlyList<ulong> pairs = [.. values.Select((x, i) => x << 16 | values[(i * 7 + 3) % values.Count])];
        return new InstructionCase(text, "b32", new string('w', sources),
            (x, y, z) => expected(x >> 16, y >> 16, z >> 16) << 16 | expected(x & 0xFFFF, y & 0xFFFF, z & 0xFFFF))
        {
            Inputs = [.. Enumerable.Repeat(pairs, sources)], Agrees = SameHalves(f),
        };
    }

    private static char Kind(FloatFormat f) => f.Bits == 16 ? 'h' : f.Bits == 32 ? 'w' : 'd';

    private static Func<ulong, ulong, bool> Same(FloatFormat f) => (x, y) => x == y || f.IsNaN(x) && f.IsNaN(y);

    private static Func<ulong, ulong, bool> SameHalves(FloatFormat f) =>
        (x, y) => Same(f)(x >> 16, y >> 16) && Same(f)(x & 0xFFFF, y & 0xFFFF);

    private static ulong Negate(FloatFormat f, ulong x) => x ^ f.SignBit;

    private static ulong Relu(FloatFormat f, ulong x) => f.IsNaN(x) ? f.NaN : f.IsNegative(x) ? 0 : x;

    // Negative numbers in reverse order below the positive ones; both zeros are equal.
    private static int Compare(FloatFormat f, ulong x, ulong y)
    {
        long Key(ulong v) => f.IsNegative(v) ? -(long)(v & ~f.SignBit) : (long)v;
        return Key(x).CompareTo(Key(y));
    }

    private static ulong Minimum(FloatFormat f, ulong x, ulong y, bool nan) => Choose(f, x, y, nan, smaller: true);

    private static ulong Maximum(FloatFormat f, ulong x, ulong y, bool nan) => Choose(f, x, y, nan, smaller: false);

    // A NaN loses against a number, unless it is to win; -0 is less than +0.
    private static ulong Choose(FloatFormat f, ulong x, ulong y, bool nan, bool smaller)
    {
        if (f.IsNaN(x) || f.IsNaN(y)) return nan || f.IsNaN(x) && f.IsNaN(y) ? f.NaN : f.IsNaN(x) ? y : x;
        int order = Compare(f, x, y);
        if (order == 0) order = f.IsNegative(y).CompareTo(f.IsNegative(x));
        return order < 0 == smaller ? x : y;
    }

    private static ulong RoundToInteger(FloatFormat f, ulong x, Rounding rounding)
    {
        if (f.IsNaN(x) || f.IsInfinite(x)) return x;
        BigInteger integer = f.Value(x).ToInteger(rounding);
        return f.Round(new Exact(f.IsNegative(x), BigInteger.Abs(integer), 0), Rounding.Nearest);
    }

    // NaN becomes 0, but 0x8000… where either side has 64 bits.
    private static ulong ToInteger(FloatFormat f, ulong x, Rounding rounding, int bits, bool signed, int register)
    {
        if (f.IsNaN(x)) return bits == 64 || f.Bits == 64 ? 1ul << (bits - 1) : 0;
        BigInteger low = signed ? -(BigInteger.One << (bits - 1)) : 0, high = (BigInteger.One << (signed ? bits - 1 : bits)) - 1;
        BigInteger value = f.IsInfinite(x) ? (f.IsNegative(x) ? low : high) : f.Value(x).ToInteger(rounding);
        value = BigInteger.Max(low, BigInteger.Min(high, value));
        return (ulong)(value & ((BigInteger.One << register) - 1));
    }

    // tf32 is f32 with 10 bits of fraction; ties go away from zero.
    private static ulong ToTf32(ulong x)
    {
        FloatFormat s = FloatFormat.F32;
        if (s.IsNaN(x) || s.IsInfinite(x)) return x;
        const int Dropped = 13;
        ulong rounded = (x & ~s.SignBit) + (1ul << (Dropped - 1)) & ~((1ul << Dropped) - 1);
        return x & s.SignBit | rounded;
    }

    // Numbers of the wide format that lie exactly between two of the narrow one, and their neighbours.
    private static IEnumerable<ulong> Ties(FloatFormat wide, FloatFormat narrow)
    {
        foreach (ulong x in InstructionSweep.Floats(narrow).Where(x => !narrow.IsNaN(x) && !narrow.IsInfinite(x)))
        {
            Exact value = narrow.Value(x);
            ulong tie = wide.Round(value with { Magnitude = value.Magnitude * 2 + 1, Exponent = value.Exponent - 1 }, Rounding.Zero);
            yield return tie;
            yield return tie + 1;
            if ((tie & ~wide.SignBit) != 0) yield return tie - 1;
        }
    }

    // Integers and halves around the borders of integer types.
    private static IEnumerable<ulong> Integral(FloatFormat f)
    {
        foreach (int power in new[] { 0, 1, 7, 8, 15, 16, 31, 32, 63, 64 })
        {
            foreach (int half in new[] { -3, -2, -1, 0, 1, 2, 3 })
            {
                BigInteger doubled = (BigInteger.One << (power + 1)) + half;
                ulong x = f.Round(new Exact(false, BigInteger.Abs(doubled), -1), Rounding.Zero);
                yield return x;
                yield return x | f.SignBit;
            }
        }
    }
}
