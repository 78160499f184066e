using System.Buffers.Binary;
using System.Runtime.InteropServices;
using DwrSeg.PtxEmulator.Memory;
using DwrSeg.PtxEmulator.Ptx;

namespace DwrSeg.PtxEmulator.Tests;

/// <summary>
/// Small PTX kernels for tests: a few instructions become a kernel that runs them in every lane, on inputs that the test gives and with
/// results that it gets back.
/// </summary>
internal static class PtxSnippet
{
    /// <summary>Runs instructions once a lane: <c>a</c>, <c>b</c>, <c>c</c> hold the lane's inputs, and what they leave in <c>d</c> is the result.</summary>
    /// <param name="instructions">For example <c>add.u32 d, a, b;</c>. <c>p</c> and <c>q</c> are predicates, <c>t0</c> to <c>t9</c> 32-bit and
    /// <c>w0</c> to <c>w9</c> 64-bit registers, <c>h0</c> to <c>h9</c> 16-bit ones, to be used freely.</param>
    /// <param name="resultType">Register type of <c>d</c>: b16, b32 or b64.</param>
    /// <param name="inputType">Register type of the inputs.</param>
    /// <param name="a">First input of each lane; there are as many lanes as values.</param>
    /// <param name="b">Second input; empty for zeros.</param>
    /// <param name="c">Third input; empty for zeros.</param>
    /// <param name="target">The module's target.</param>
    public static ulong[] Run(
        string instructions, string resultType, string inputType, ReadOnlySpan<ulong> a, ReadOnlySpan<ulong> b = default,
            ReadOnlySpan<ulong> c = default, string target = "sm_90")
    {
        string text = Module(
            $$"""
            .visible .entry snippet(.param .u64 inputs, .param .u64 results)
            {
                .reg .{{inputType}} a, b, c;
                .reg .{{resultType}} d;
                .reg .pred p, q;
                .reg .b32 t<10>, index, ntid, ctaid;
                .reg .b64 w<10>, from, to, at;
                .reg .b16 h<10>;
                ld.param.u64 from, [inputs];
                ld.param.u64 to, [results];
                mov.u32 index, %tid.x;
                mov.u32 ntid, %ntid.x;
                mov.u32 ctaid, %ctaid.x;
                mad.lo.u32 index, ctaid, ntid, index;
                mul.wide.u32 at, index, 24;
                add.u64 from, from, at;
                ld.global.{{inputType}} a, [from];
                ld.global.{{inputType}} b, [from+8];
                ld.global.{{inputType}} c, [from+16];
                mul.wide.u32 at, index, 8;
                add.u64 to, to, at;
                mov.{{resultType}} d, 0;
                {{instructions}}
                st.global.{{resultType}} [to], d;
                ret;
            }
            """, target);
        var inputs = new ulong[a.Length * 3];
        for (int i = 0; i < a.Length; i++)
        {
            inputs[i * 3] = a[i];
            inputs[i * 3 + 1] = i < b.Length ? b[i] : 0;
            inputs[i * 3 + 2] = i < c.Length ? c[i] : 0;
        }
        using var device = new TestDevice(text, int.Parse(target[3..5], System.Globalization.CultureInfo.InvariantCulture));
        ulong from = device.Upload<ulong>(inputs, "inputs"), to = device.Upload<ulong>(new ulong[a.Length], "results");
        int threads = Math.Min(a.Length, 64);
        if (a.Length % threads != 0) throw new ArgumentException("more than 64 lanes have to be a multiple of 64");
        device.Launch("snippet", new LaunchShape(new Index3((uint)(a.Length / threads)), new Index3((uint)threads)), from, to);
        return device.Download<ulong>(to, a.Length);
    }

    /// <summary>The same for one lane.</summary>
    public static ulong Run1(string instructions, string resultType, string inputType, ulong a, ulong b = 0, ulong c = 0,
        string target = "sm_90") =>
        Run(instructions, resultType, inputType, [a], [b], [c], target)[0];

    /// <summary>A module of one kernel with this body, whose parameters are pointers <c>p0</c>, <c>p1</c>, … loaded into <c>%p0</c>, ….</summary>
    public static string Kernel(string body, int pointers = 1, string target = "sm_90", string directives = "", string globals = "") =>
        Module(
        $$"""
        {{globals}}
        .visible .entry kernel({{string.Join(", ", Enumerable.Range(0, pointers).Select(i => $".param .u64 p{i}"))}})
        {{directives}}
        {
            .reg .pred %q<20>;
            .reg .b16 %h<40>;
            .reg .b32 %r<100>;
            .reg .f32 %f<60>;
            .reg .b64 %a<60>, %p<10>;
            .reg .b32 %tid, %lane, %cta;
        {{string.Join("\n", Enumerable.Range(0, pointers).Select(i => $"    ld.param.u64 %p{i}, [p{i}];"))}}
            mov.u32 %tid, %tid.x;
            mov.u32 %lane, %laneid;
            mov.u32 %cta, %ctaid.x;
        {{body}}
            ret;
        }
        """, target);

    public static string Module(string text, string target = "sm_90") => $".version 8.4\n.target {target}\n.address_size 64\n{text}\n";
}

/// <summary>An emulated device with one module.</summary>
internal sealed class TestDevice : IDisposable
{
    private readonly LoadedModule _loaded;

    public TestDevice(string text, int architecture = 90)
    {
        Module = PtxModule.Parse(text);
        _loaded = new LoadedModule(Module, Memory, architecture);
    }

    public DeviceMemory Memory { get; } = new();

    public PtxModule Module { get; }

    public LoadedModule Loaded => _loaded;

    public EmulatorOptions Options { get; set; } = new() { Threads = 2 };

    public ulong Upload<T>(ReadOnlySpan<T> values, string name)
        where T : unmanaged
    {
        ulong address = Memory.Allocate((ulong)(values.Length * Marshal.SizeOf<T>()), name);
        Memory.CopyIn(address, values);
        return address;
    }

    public T[] Download<T>(ulong address, int count)
        where T : unmanaged
    {
        var values = new T[count];
        Memory.CopyOut<T>(values, address);
        return values;
    }

    public LaunchStatistics Launch(string kernel, LaunchShape shape, params ReadOnlySpan<ulong> parameters)
    {
        Span<byte> bytes = stackalloc byte[parameters.Length * 8];
        for (int i = 0; i < parameters.Length; i++) BinaryPrimitives.WriteUInt64LittleEndian(bytes[(i * 8)..], parameters[i]);
        return _loaded.Launch(Module.Entries.First(e => e.Name == kernel), shape, bytes, Options);
    }

    public void Dispose()
    {
        _loaded.Dispose();
        Memory.Dispose();
    }
}
