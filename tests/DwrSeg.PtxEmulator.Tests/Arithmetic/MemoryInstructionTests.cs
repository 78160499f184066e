using Xunit;

namespace DwrSeg.PtxEmulator.Tests.Arithmetic;

/// <summary>What atomics leave in memory and return, what narrow loads extend, and how registers are packed.</summary>
public class MemoryInstructionTests
{
    private static readonly Dictionary<string, InstructionCase> Cases = All().ToDictionary(c => c.Text);

    public static TheoryData<string> Instructions => [.. Cases.Keys];

    [Theory]
    [MemberData(nameof(Instructions))]
    public void EachInstructionDoesWhatItSays(string instruction) => InstructionSweep.Check(Cases[instruction]);

    private static IEnumerable<InstructionCase> All() => [.. Atomics(), .. FloatAtomics(), .. Loads(), .. Packing()];

    private static IEnumerable<InstructionCase> Atomics()
    {
        foreach (int bits in new[] { 32, 64 })
        {
            ulong mask = bits == 64 ? ulong.MaxValue : uint.MaxValue;
            long S(ulong x) => bits == 64 ? (long)x : (int)x;
            (string Operation, Func<ulong, ulong, ulong> Result)[] operations =
            [
                ($"add.u{bits}", (x, y) => x + y & mask), ($"exch.b{bits}", (_, y) => y), ($"and.b{bits}", (x, y) => x & y),
                ($"or.b{bits}", (x, y) => x | y), ($"xor.b{bits}", (x, y) => x ^ y), ($"min.u{bits}", Math.Min), ($"max.u{bits}", Math.Max),
                ($"min.s{bits}", (x, y) => S(x) < S(y) ? x : y), ($"max.s{bits}", (x, y) => S(x) > S(y) ? x : y),
            ];
            foreach ((string operation, Func<ulong, ulong, ulong> result) in operations)
            {
                yield return Left($"atom.global.{operation} %{Scratch(bits)}1, [%at], %b;", bits, result);
                yield return Returned($"atom.global.{operation} %d, [%at], %b;", bits);
                if (operation.StartsWith("exch", StringComparison.Ordinal)) continue;
                yield return Left($"red.global.{operation} [%at], %b;", bits, result);
            }
            yield return new(
                $"{Place(bits)}atom.global.cas.b{bits} %{Scratch(bits)}1, [%at], %b, %c;\nld.global.b{bits} %d, [%at];", $"b{bits}",
                new string(bits == 32 ? 'w' : 'd', 3), (x, compare, y) => x == compare ? y : x);
        }
        yield return Left("atom.global.inc.u32 %w1, [%at], %b;", 32, (x, bound) => x >= bound ? 0 : x + 1);
        yield return Left("atom.global.dec.u32 %w1, [%at], %b;", 32, (x, bound) => x == 0 || x > bound ? bound : x - 1);
    }

    // On global memory fp32 additions flush nothing and round to nearest.
    private static IEnumerable<InstructionCase> FloatAtomics()
    {
        FloatFormat s = FloatFormat.F32;
        IReadOnlyList<ulong> floats = InstructionSweep.Floats(s);
        IReadOnlyList<ulong> normal = [.. floats.Where(x => !s.IsSubnormal(x) && !s.IsZero(x))];
        bool Same(ulong x, ulong y) => x == y || s.IsNaN(x) && s.IsNaN(y);
        foreach (string operation in new[] { "atom.global.add.f32 %w1, [%at], %b;", "red.global.add.f32 [%at], %b;" })
        {
            yield return Left(operation, 32, (x, y) => s.Add(x, y, Rounding.Nearest)) with
            {
                // Which of them flushes subnormals is not the same on all hardware.
                Inputs = [normal, normal], Agrees = (expected, actual) => s.IsSubnormal(expected) || Same(expected, actual),
            };
        }
    }

    private static IEnumerable<InstructionCase> Loads()
    {
        foreach ((string type, int bits, bool signed) in new[] { ("s8", 8, true), ("u8", 8, false), ("s16", 16, true), ("u16", 16, false) })
        {
            ulong Extended(ulong x, int register)
            {
                x &= (1ul << bits) - 1;
                bool negative = signed && (x >> (bits - 1) & 1) != 0;
                return (negative ? x | ulong.MaxValue << bits : x) & (register == 64 ? ulong.MaxValue : (1ul << register) - 1);
            }
            yield return new($"{Place(32)}ld.global.{type} %d, [%at];", "b32", "w", (x, _, _) => Extended(x, 32));
            yield return new($"{Place(64)}ld.global.{type} %d, [%at];", "b64", "d", (x, _, _) => Extended(x, 64));
            yield return new($"{Place(32)}ld.global.{type} %d, [%at+2];", "b32", "w", (x, _, _) => Extended(x >> 16, 32));
        }
        yield return new($"{Place(64)}ld.global.v2.u32 {{%w1, %w2}}, [%at];\nsub.u32 %d, %w2, %w1;", "b32", "d",
            (x, _, _) => (x >> 32) - x & uint.MaxValue);
        yield return new($"{Place(64)}st.global.u8 [%at+1], %b;\nld.global.u64 %d, [%at];", "b64", "dw",
            (x, y, _) => x & ~0xFF00ul | (y & 0xFF) << 8);
        yield return new($"{Place(64)}st.global.v2.u16 [%at+4], {{%b, %c}};\nld.global.u64 %d, [%at];", "b64", "dhh",
            (x, y, z) => x & uint.MaxValue | y << 32 | z << 48);
    }

    private static IEnumerable<InstructionCase> Packing()
    {
        yield return new("mov.b32 %d, {%a, %b};", "b32", "hh", (x, y, _) => x | y << 16);
        yield return new("mov.b64 %d, {%a, %b};", "b64", "ww", (x, y, _) => x | y << 32);
        yield return new("mov.b32 {%h1, %d}, %a;", "b16", "w", (x, _, _) => x >> 16);
        yield return new("mov.b64 {%d, %w1}, %a;", "b32", "d", (x, _, _) => x & uint.MaxValue);
        yield return new("mov.b64 %d, {%a, %b, %c, %a};", "b64", "hhh", (x, y, z) => x | y << 16 | z << 32 | x << 48);
        yield return new("mov.b64 {%h1, %h2, %d, %h3}, %a;", "b16", "d", (x, _, _) => x >> 32 & 0xFFFF);
    }

    /// <summary>What an instruction leaves in memory that held the first source.</summary>
    private static InstructionCase Left(string instruction, int bits, Func<ulong, ulong, ulong> result) =>
        new($"{Place(bits)}{instruction}\nld.global.b{bits} %d, [%at];", $"b{bits}", new string(bits == 32 ? 'w' : 'd', 2),
            (x, y, _) => result(x, y));

    /// <summary>It returns what the memory held before.</summary>
    private static InstructionCase Returned(string instruction, int bits) =>
        new(Place(bits) + instruction, $"b{bits}", new string(bits == 32 ? 'w' : 'd', 2), (x, _, _) => x);

    // The thread's own place among the results serves as the memory.
    private static string Place(int bits) => $"ld.param.u64 %at, [result];\nadd.u64 %at, %at, %offset;\nst.global.b{bits} [%at], %a;\n";

    private static char Scratch(int bits) => bits == 32 ? 'w' : 'l';
}
