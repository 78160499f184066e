using System.Runtime.InteropServices;
using System.Text;
using DwrSeg.PtxEmulator.Memory;
using DwrSeg.PtxEmulator.Ptx;
using Xunit;

namespace DwrSeg.PtxEmulator.Tests.Arithmetic;

/// <summary>An instruction with the types of its registers and what it must compute.</summary>
/// <param name="Text">PTX on the registers <c>%d</c> and <c>%a</c>, <c>%b</c>, <c>%c</c>; may be several instructions.</param>
/// <param name="Result">Type of <c>%d</c>: <c>b16</c>, <c>b32</c>, <c>b64</c> or <c>pred</c>.</param>
/// <param name="Sources">Types of the sources, one letter each: <c>h</c> 16, <c>w</c> 32, <c>d</c> 64 bits.</param>
/// <param name="Expected">Result from sources; those that are not there are 0.</param>
internal sealed record InstructionCase(string Text, string Result, string Sources, Func<ulong, ulong, ulong, ulong> Expected)
{
    /// <summary>Says whether a result will do; equality where it is null.</summary>
    public Func<ulong, ulong, bool>? Agrees { get; init; }

    /// <summary>Inputs of each source; the usual ones of its width where it is null.</summary>
    public IReadOnlyList<ulong>?[]? Inputs { get; init; }
}

/// <summary>Runs an instruction in the emulator on many combinations of inputs, and compares.</summary>
internal static class InstructionSweep
{
    private const int BlockThreads = 256;
    private const int Random = 40;

    public static void Check(InstructionCase test)
    {
        IReadOnlyList<ulong>[] pools = [.. test.Sources.Select((kind, i) => test.Inputs?[i] ?? Integers(Bits(kind)))];
        List<ulong[]> inputs = Combine(pools);
        ulong mask = test.Result switch { "b16" => ushort.MaxValue, "b64" => ulong.MaxValue, _ => uint.MaxValue };
        ulong[] results = [.. Run(test.Text, test.Result, test.Sources, inputs).Select(r => r & mask)];
        var wrong = new List<string>();
        for (int i = 0; i < inputs.Count; i++)
        {
            ulong[] x = [.. inputs[i], 0, 0, 0];
            ulong expected = test.Expected(x[0], x[1], x[2]);
            bool agrees = test.Agrees?.Invoke(expected, results[i]) ?? expected == results[i];
            if (!agrees) wrong.Add($"{string.Join(", ", inputs[i].Select(v => $"0x{v:x}"))} gives 0x{results[i]:x}, not 0x{expected:x}");
        }
        Assert.True(wrong.Count == 0, $"{test.Text}: {wrong.Count} of {inputs.Count} wrong\n{string.Join('\n', wrong.Take(8))}");
    }

    /// <summary>Integers that are on some border, and random ones of all lengths.</summary>
    public static IReadOnlyList<ulong> Integers(int bits)
    {
        ulong mask = bits == 64 ? ulong.MaxValue : (1ul << bits) - 1, top = 1ul << (bits - 1);
        var random = new Random(bits);
        return
        [
            0, 1, 2, 3, 7, (ulong)bits - 1, (ulong)bits, (ulong)bits + 1, 0x55, 0x80, 0xFF, 0x7FFF & mask, 0x8000, 0xFFFF,
            top, top + 1, top - 1, mask, mask - 1, 0xAAAAAAAAAAAAAAAA & mask,
            .. Enumerable.Range(0, 12).Select(_ => (ulong)random.NextInt64() >> random.Next(63) & mask),
        ];
    }

    /// <summary>Floating-point numbers of every kind: zeros, subnormal and normal borders, halves, infinities, NaN, and random
    /// ones.</summary>
    public static IReadOnlyList<ulong> Floats(FloatFormat format)
    {
        ulong smallestNormal = format.Infinity & ~(format.Infinity << 1);
        ulong[] positive =
        [
            0, 1, 2, 3, smallestNormal - 1, smallestNormal, smallestNormal + 1, smallestNormal * 2 - 1,
            format.One - 1, format.One, format.One + 1, format.One + smallestNormal / 2, format.One + smallestNormal,
            format.MaxFinite, format.MaxFinite - 1, format.Infinity, format.NaN,
            format.Infinity + 1,
        ];
        var random = new Random(format.Bits);
        ulong mask = format.SignBit * 2 - 1;
        return
        [
            .. positive, .. positive.Select(x => x | format.SignBit),
            .. Enumerable.Range(0, Random / 2).Select(_ => (ulong)random.NextInt64() & mask),
            .. Enumerable.Range(0, Random / 2).Select(_ =>
                format.One + ((ulong)random.NextInt64(16) - 8) * smallestNormal
                    + ((ulong)random.NextInt64() & (smallestNormal - 1)) & mask),
        ];
    }

    private static int Bits(char kind) => kind == 'h' ? 16 : kind == 'w' ? 32 : 64;

    // All pairs of two sources; of three sources a stride through all triples that keeps the count in bounds.
    private static List<ulong[]> Combine(IReadOnlyList<ulong>[] pools)
    {
        const int Most = 20_000;
        long all = pools.Aggregate(1L, (product, pool) => product * pool.Count);
        long stride = Math.Max(1, all / Most) | 1;
        var combinations = new List<ulong[]>();
        for (long i = 0; i < all; i += stride)
        {
            var inputs = new ulong[pools.Length];
            long rest = i;
            for (int p = 0; p < pools.Length; p++)
            {
                inputs[p] = pools[p][(int)(rest % pools[p].Count)];
                rest /= pools[p].Count;
            }
            combinations.Add(inputs);
        }
        return combinations;
    }

    private static ulong[] Run(string instruction, string result, string sources, List<ulong[]> inputs)
    {
        using var memory = new DeviceMemory();
        using var module = new LoadedModule(PtxModule.Parse(Kernel(instruction, result, sources)), memory, 90);
        ulong bytes = (ulong)inputs.Count * 8;
        ulong output = memory.Allocate(bytes, "result");
        memory.Fill(output, 0, bytes);
        var parameters = new ulong[sources.Length + 2];
        parameters[0] = (ulong)inputs.Count;
        parameters[1] = output;
        for (int s = 0; s < sources.Length; s++)
        {
            parameters[s + 2] = memory.Allocate(bytes, $"source {s}");
            memory.CopyIn<ulong>(parameters[s + 2], inputs.Select(i => i[s]).ToArray());
        }
        var shape = new LaunchShape(new Index3((uint)((inputs.Count + BlockThreads - 1) / BlockThreads)), new Index3(BlockThreads));
        var options = new EmulatorOptions { Architecture = 90, Threads = 1 };
        module.Launch(module.Module.Entries[0], shape, MemoryMarshal.AsBytes<ulong>(parameters), options);
        var results = new ulong[inputs.Count];
        memory.CopyOut<ulong>(results, output);
        return results;
    }

    private static string Kernel(string instruction, string result, string sources)
    {
        var text = new StringBuilder(
            ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry sweep(.param .u64 count, .param .u64 result");
        for (int s = 0; s < sources.Length; s++) text.Append($", .param .u64 source{s}");
        text.Append(")\n{\n.reg .b32 %t, %n, %i, %z;\n.reg .b64 %at, %end, %offset;\n.reg .pred %out, %q;\n");
        text.Append($".reg .{result} %d;\n.reg .b16 %h<4>;\n.reg .b32 %w<4>;\n.reg .b64 %l<4>;\n");
        for (int s = 0; s < sources.Length; s++) text.Append($".reg .b{Bits(sources[s])} %{(char)('a' + s)};\n");
        text.Append("mov.u32 %t, %tid.x;\nmov.u32 %n, %ntid.x;\nmov.u32 %i, %ctaid.x;\nmad.lo.u32 %i, %i, %n, %t;\n");
        text.Append("ld.param.u64 %end, [count];\ncvt.u64.u32 %offset, %i;\nsetp.ge.u64 %out, %offset, %end;\n@%out bra $end;\n");
        text.Append("shl.b64 %offset, %offset, 3;\n");
        for (int s = 0; s < sources.Length; s++)
        {
            text.Append($"ld.param.u64 %at, [source{s}];\nadd.u64 %at, %at, %offset;\n");
            text.Append($"ld.global.b{Bits(sources[s])} %{(char)('a' + s)}, [%at];\n");
        }
        text.Append(instruction).Append('\n');
        text.Append("ld.param.u64 %at, [result];\nadd.u64 %at, %at, %offset;\n");
        if (result == "pred") text.Append("selp.u32 %z, 1, 0, %d;\nst.global.u32 [%at], %z;\n");
        else text.Append($"st.global.{result} [%at], %d;\n");
        return text.Append("$end:\nret;\n}\n").ToString();
    }
}
