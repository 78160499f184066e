using System.Collections.Concurrent;

namespace DwrSeg.Native.Cuda.Compilation;

/// <summary>
/// Compiled and loaded kernels of one context. Each is compiled once, whichever thread asks first; different ones compile side by side.
/// Kernels live as long as the cache.
/// </summary>
/// <param name="context">The context they are loaded into.</param>
/// <param name="compiler">The compiler.</param>
/// <param name="wantsPtx">Loads PTX even where the compiler knows the device: for the emulator.</param>
/// <param name="files">Where kernels and headers come from; the library's own by default.</param>
internal sealed class KernelCache(CudaContext context, Nvrtc compiler, bool wantsPtx, KernelFiles? files = null) : IDisposable
{
    private readonly ConcurrentDictionary<KernelSource, Lazy<CudaKernel>> _kernels = new();
    private readonly KernelFiles _files = files ?? KernelFiles.Embedded;

    /// <summary>The context that kernels are loaded into.</summary>
    public CudaContext Context { get; } = context;

    /// <summary>The architecture that kernels are compiled for.</summary>
    public NvrtcTarget Target { get; } = compiler.TargetFor(context.Device.ComputeCapability, wantsPtx);

    /// <summary>The kernel, compiled and loaded. Not for every launch: keep it.</summary>
    /// <exception cref="KernelCompilationException">It does not compile.</exception>
    /// <exception cref="CudaException">The driver does not load it.</exception>
    public CudaKernel Get(KernelSource source) => _kernels.GetOrAdd(source, s => new Lazy<CudaKernel>(() => Load(s))).Value;

    public void Dispose()
    {
        foreach (Lazy<CudaKernel> kernel in _kernels.Values)
        {
            if (kernel.IsValueCreated) kernel.Value.Module.Dispose();
        }
        _kernels.Clear();
    }

    private CudaKernel Load(KernelSource source)
    {
        string text = _files.Kernel(source.File);
        CompiledKernel compiled = compiler.Compile(
            source.File + ".cu", text, _files.Headers(text), source.Name, source.CommandLine, Target);
        var module = new CudaModule(Context, compiled.Image, source.ToString());
        return module.GetKernel(compiled.LoweredName, compiled.ParameterBytes);
    }
}
