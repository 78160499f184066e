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
/// <param name="disk">Where compiled kernels are kept beyond this process; null for nowhere.</param>
internal sealed class KernelCache(
    CudaContext context, Nvrtc compiler, bool wantsPtx, KernelFiles? files = null, KernelDiskCache? disk = null) : IDisposable
{
    private readonly ConcurrentDictionary<KernelSource, Lazy<CudaKernel>> _kernels = new();
    private readonly KernelCompiler _compiler =
        new(compiler, compiler.TargetFor(context.Device.ComputeCapability, wantsPtx), files ?? KernelFiles.Embedded, disk);

    private volatile bool _isDisposed;

    /// <summary>The context that kernels are loaded into.</summary>
    public CudaContext Context { get; } = context;

    /// <summary>The architecture that kernels are compiled for.</summary>
    public NvrtcTarget Target => _compiler.Target;

    /// <summary>The compiler's version.</summary>
    public Version CompilerVersion => compiler.Version;

    /// <summary>How many kernels were compiled.</summary>
    public int Compiled => _compiler.Compiled;

    /// <summary>How many kernels came from the disk.</summary>
    public int FromDisk => _compiler.FromDisk;

    /// <summary>The kernel, compiled and loaded. Not for every launch: keep it.</summary>
    /// <exception cref="KernelCompilationException">It does not compile.</exception>
    /// <exception cref="CudaException">The driver does not load it.</exception>
    public CudaKernel Get(KernelSource source)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        Lazy<CudaKernel> kernel = _kernels.GetOrAdd(source, s => new Lazy<CudaKernel>(() => Load(s)));
        try
        {
            return kernel.Value;
        }
        catch
        {
            // What failed for want of memory may work the next time.
            _kernels.TryRemove(KeyValuePair.Create(source, kernel));
            throw;
        }
    }

    /// <summary>Unloads all kernels, after the work that is on the device.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        foreach (Lazy<CudaKernel> kernel in _kernels.Values)
        {
            if (kernel.IsValueCreated) kernel.Value.Module.Dispose();
        }
        _kernels.Clear();
    }

    private CudaKernel Load(KernelSource source)
    {
        CompiledKernel compiled = _compiler.Compile(source);
        var module = new CudaModule(Context, compiled.Image, source.ToString());
        try
        {
            return module.GetKernel(compiled.LoweredName, compiled.ParameterBytes);
        }
        catch
        {
            module.Dispose();
            throw;
        }
    }
}
