using System.Runtime.InteropServices;
using System.Text;
using DwrSeg.Native.Cuda.Libraries;

namespace DwrSeg.Native.Cuda.Compilation;

/// <summary>The run-time compiler. It needs no GPU and no driver, and compiles on several threads at a time.</summary>
internal sealed unsafe class Nvrtc
{
    private static readonly Lazy<Nvrtc> Shared = new(() => new Nvrtc());

    private Nvrtc()
    {
        Location = NativeLibraries.Require(NativeLibraries.Nvrtc);
        Check(NvrtcApi.nvrtcVersion(out int major, out int minor), nameof(NvrtcApi.nvrtcVersion));
        Version = new Version(major, minor);
        LoadBuiltins();
        Check(NvrtcApi.nvrtcGetNumSupportedArchs(out int count), nameof(NvrtcApi.nvrtcGetNumSupportedArchs));
        var numbers = new int[count];
        fixed (int* pointer = numbers) Check(NvrtcApi.nvrtcGetSupportedArchs(pointer), nameof(NvrtcApi.nvrtcGetSupportedArchs));
        Architectures = [.. numbers.Select(ComputeCapability.FromNumber).Order()];
    }

    /// <summary>The process's NVRTC.</summary>
    /// <exception cref="CudaException">There is none; the message says where it was looked for and what to install.</exception>
    public static Nvrtc Instance
    {
        get
        {
            try
            {
                return Shared.Value;
            }
            catch (EntryPointNotFoundException e)
            {
                throw new CudaException($"the NVRTC found is too old ({e.Message}); install NVRTC 11.2 or newer", "nvrtc", -1, "", inner: e);
            }
        }
    }

    /// <summary>The file it was loaded from.</summary>
    public string Location { get; }

    public Version Version { get; }

    /// <summary>What it compiles for, oldest first.</summary>
    public IReadOnlyList<ComputeCapability> Architectures { get; }

    /// <summary>How to compile for a device; see <see cref="NvrtcTarget.Choose"/>.</summary>
    public NvrtcTarget TargetFor(ComputeCapability device, bool wantsPtx) => NvrtcTarget.Choose(device, Architectures, Version, wantsPtx);

    /// <summary>Compiles one kernel.</summary>
    /// <param name="file">The file's name, for messages and line information.</param>
    /// <param name="text">CUDA C++.</param>
    /// <param name="headers">Headers by the names that <c>#include</c> uses.</param>
    /// <param name="expression">The kernel, such as <c>kernel&lt;float, 4&gt;</c>.</param>
    /// <param name="options">Options without the architecture.</param>
    /// <param name="target">The architecture, and PTX or cubin.</param>
    /// <exception cref="KernelCompilationException">It does not compile; the message holds file, options and the compiler's log.</exception>
    public CompiledKernel Compile(
        string file, string text, IReadOnlyList<(string Name, string Text)> headers, string expression, IReadOnlyList<string> options, NvrtcTarget target)
    {
        using var strings = new NativeStrings();
        byte** headerTexts = strings.Array([.. headers.Select(h => h.Text)]);
        byte** headerNames = strings.Array([.. headers.Select(h => h.Name)]);
        string[] allOptions = [target.Option, .. options];
        byte** nativeOptions = strings.Array(allOptions);
        byte* nativeExpression = strings.Add(expression);
        Check(
            NvrtcApi.nvrtcCreateProgram(out nint program, strings.Add(text), strings.Add(file), headers.Count, headerTexts, headerNames),
            nameof(NvrtcApi.nvrtcCreateProgram));
        try
        {
            Check(NvrtcApi.nvrtcAddNameExpression(program, nativeExpression), nameof(NvrtcApi.nvrtcAddNameExpression));
            int status = NvrtcApi.nvrtcCompileProgram(program, allOptions.Length, nativeOptions);
            string log = Log(program);
            if (status != NvrtcApi.Success) throw new KernelCompilationException(file, expression, allOptions, log, StatusText(status), this);
            Check(NvrtcApi.nvrtcGetLoweredName(program, nativeExpression, out byte* lowered), nameof(NvrtcApi.nvrtcGetLoweredName));
            string name = Marshal.PtrToStringUTF8((nint)lowered)!;
            byte[] ptx = Ptx(program);
            return new CompiledKernel(target.IsPtx ? ptx : Cubin(program), name, PtxParameters.Bytes(Encoding.UTF8.GetString(ptx), name), log);
        }
        finally
        {
            _ = NvrtcApi.nvrtcDestroyProgram(ref program);
        }
    }

    // NVRTC asks the system's loader for its second library, which looks in the folder of the first only where its packager said so. One
    // that is loaded already is found by its name. Where it is not there, NVRTC's own message says so at the first compilation.
    private void LoadBuiltins()
    {
        if (Path.GetDirectoryName(Location) is not { Length: > 0 } folder) return;
        string name = OperatingSystem.IsWindows()
            ? $"nvrtc-builtins64_{Version.Major}{Version.Minor}.dll"
            : $"libnvrtc-builtins.so.{Version.Major}.{Version.Minor}";
        NativeLibrary.TryLoad(Path.Combine(folder, name), out _);
    }

    // Length and content include the terminating zero, which the driver wants to see.
    private static byte[] Ptx(nint program)
    {
        Check(NvrtcApi.nvrtcGetPTXSize(program, out nuint bytes), nameof(NvrtcApi.nvrtcGetPTXSize));
        var ptx = new byte[checked((int)bytes)];
        fixed (byte* pointer = ptx) Check(NvrtcApi.nvrtcGetPTX(program, pointer), nameof(NvrtcApi.nvrtcGetPTX));
        return ptx;
    }

    private static byte[] Cubin(nint program)
    {
        Check(NvrtcApi.nvrtcGetCUBINSize(program, out nuint bytes), nameof(NvrtcApi.nvrtcGetCUBINSize));
        var cubin = new byte[checked((int)bytes)];
        fixed (byte* pointer = cubin) Check(NvrtcApi.nvrtcGetCUBIN(program, pointer), nameof(NvrtcApi.nvrtcGetCUBIN));
        return cubin;
    }

    private static string Log(nint program)
    {
        if (NvrtcApi.nvrtcGetProgramLogSize(program, out nuint bytes) != NvrtcApi.Success || bytes <= 1) return "";
        var log = new byte[checked((int)bytes)];
        fixed (byte* pointer = log) Check(NvrtcApi.nvrtcGetProgramLog(program, pointer), nameof(NvrtcApi.nvrtcGetProgramLog));
        return Encoding.UTF8.GetString(log).TrimEnd('\0', '\n', ' ');
    }

    private static string StatusText(int status) => Marshal.PtrToStringUTF8((nint)NvrtcApi.nvrtcGetErrorString(status)) ?? $"status {status}";

    private static void Check(int status, string call)
    {
        if (status == NvrtcApi.Success) return;
        string name = StatusText(status);
        throw new CudaException($"{call} failed: {name} ({status}). Install NVRTC again, or another version of it.", call, status, name);
    }

    /// <summary>Zero-terminated UTF-8 copies that live until disposal.</summary>
    private sealed class NativeStrings : IDisposable
    {
        private readonly List<nint> _blocks = [];

        public byte* Add(string text)
        {
            nint block = Marshal.StringToCoTaskMemUTF8(text);
            _blocks.Add(block);
            return (byte*)block;
        }

        public byte** Array(string[] texts)
        {
            if (texts.Length == 0) return null;
            nint block = Marshal.AllocCoTaskMem(texts.Length * sizeof(byte*));
            _blocks.Add(block);
            var array = (byte**)block;
            for (int i = 0; i < texts.Length; i++) array[i] = Add(texts[i]);
            return array;
        }

        public void Dispose() => _blocks.ForEach(Marshal.FreeCoTaskMem);
    }
}
