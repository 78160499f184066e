using Xunit;

namespace DwrSeg.PtxEmulator.Tests.Arithmetic;

/// <summary>Approximations against double precision, within the errors that PTX states; their special values are exact.</summary>
public class ApproximateInstructionTests
{
    private const double Ulp = 1.0 / (1 << 23);

    private static readonly Dictionary<string, InstructionCase> Cases = All().ToDictionary(c => c.Text);

    public static TheoryData<string> Instructions => [.. Cases.Keys];

    [Theory]
    [MemberData(nameof(Instructions))]
    public void EachApproximationIsWithinItsStatedError(string instruction) => InstructionSweep.Check(Cases[instruction]);

    private static IEnumerable<InstructionCase> All()
    {
        foreach (bool ftz in new[] { false, true })
        {
            string flag = ftz ? ".ftz" : "";
            yield return Case($"rcp.approx{flag}.f32 %d, %a;", x => 1 / x, ftz, relative: Ulp);
            yield return Case($"sqrt.approx{flag}.f32 %d, %a;", Math.Sqrt, ftz, relative: 2 * Ulp);
            yield return Case($"rsqrt.approx{flag}.f32 %d, %a;", x => x == 0 ? 1 / x : 1 / Math.Sqrt(x), ftz, relative: 4 * Ulp);
            yield return Case($"ex2.approx{flag}.f32 %d, %a;", x => Math.Pow(2, x), ftz, relative: 2 * Ulp);
            yield return Case($"lg2.approx{flag}.f32 %d, %a;", Math.Log2, ftz, relative: Ulp, absolute: 4e-7);
            // Near the bound of exactness, 0 … 2π; further out the range's reduction is the hardware's own.
            yield return Case($"sin.approx{flag}.f32 %d, %a;", Math.Sin, ftz, absolute: 1e-6, largest: 6.28);
            yield return Case($"cos.approx{flag}.f32 %d, %a;", Math.Cos, ftz, absolute: 1e-6, largest: 6.28);
        }
        yield return Case("tanh.approx.f32 %d, %a;", Math.Tanh, false, relative: 1.0 / 2048);
        IReadOnlyList<ulong> floats = InstructionSweep.Floats(FloatFormat.F32);
        // Up to 2^126: beyond, the quotient may be flushed.
        IReadOnlyList<ulong> divisors = [.. floats.Where(y => (y & 0x7FFFFFFF) is >= 0x00800000 and < 0x7E800000)];
        foreach (string kind in new[] { "approx", "full" })
        {
            yield return new($"div.{kind}.f32 %d, %a, %b;", "b32", "ww", (x, y, _) => Bits((float)((double)Single(x) / Single(y))))
            {
                Inputs = [floats, divisors], Agrees = (expected, actual) => Close(Single(expected), Single(actual), 2 * Ulp, 0),
            };
        }
        FloatFormat h = FloatFormat.F16;
        IReadOnlyList<ulong> halves = InstructionSweep.Floats(h);
        (string Name, Func<double, double> Function)[] functions = [("ex2", x => Math.Pow(2, x)), ("tanh", Math.Tanh)];
        foreach ((string name, Func<double, double> function) in functions)
        {
            yield return new($"{name}.approx.f16 %d, %a;", "b16", "h", (x, _, _) =>
                BitConverter.HalfToUInt16Bits((Half)function((double)Half(x))))
            {
                // Two units in the last place of a half, and of its smallest number.
                Inputs = [halves], Agrees = (expected, actual) => Close((double)Half(expected), (double)Half(actual), 2.0 / 1024, 1.2e-7),
            };
        }
    }

    private static InstructionCase Case(
        string text, Func<double, double> function, bool flushes, double relative = 0, double absolute = 0,
        double largest = double.PositiveInfinity)
    {
        FloatFormat f = FloatFormat.F32;
        ulong Flush(ulong x) => flushes ? f.Flush(x) : x;
        IReadOnlyList<ulong> inputs = [.. InstructionSweep.Floats(f).Where(x => f.IsNaN(x) || Math.Abs(Single(x)) <= largest)];
        return new InstructionCase(text, "b32", "w", (x, _, _) => Flush(Bits((float)function(Single(Flush(x))))))
        {
            // One subnormal unit where results may be subnormal.
            Inputs = [inputs], Agrees = (expected, actual) =>
                Close(Single(expected), Single(actual), relative, absolute + (flushes ? 0 : 2e-45)),
        };
    }

    private static bool Close(double expected, double actual, double relative, double absolute)
    {
        if (double.IsNaN(expected) || double.IsNaN(actual)) return double.IsNaN(expected) && double.IsNaN(actual);
        if (double.IsInfinity(expected) || double.IsInfinity(actual)) return expected == actual;
        return Math.Abs(expected - actual) <= relative * Math.Abs(expected) + absolute;
    }

    private static float Single(ulong bits) => BitConverter.UInt32BitsToSingle((uint)bits);

    private static Half Half(ulong bits) => BitConverter.UInt16BitsToHalf((ushort)bits);

    private static ulong Bits(float value) => BitConverter.SingleToUInt32Bits(value);
}
