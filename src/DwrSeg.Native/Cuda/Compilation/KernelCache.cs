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

    // Compiled beside other work, and not asked for yet.
    private readonly ConcurrentDictionary<KernelSource, Lazy<CompiledKernel>> _begun = new();
    private readonly ConcurrentBag<Task> _compilations = [];

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

    /// <summary>How many were begun and never asked for.</summary>
    public int Unasked => _begun.Count;

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

    /// <summary>
    /// Compiles beside the caller's work what it is going to ask for, in this order; each is loaded when <see cref="Get"/> asks for it.
    /// </summary>
    /// <remarks>
    /// On all processors but one, which is the caller's, where there are more than two. What fails does so for who waits for it; who asks later has it
    /// compiled again. No call of the driver is made.
    /// </remarks>
    public void Begin(IEnumerable<KernelSource> sources)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        var begun = new List<KeyValuePair<KernelSource, Lazy<CompiledKernel>>>();
        foreach (KernelSource source in sources)
        {
            if (_kernels.ContainsKey(source) || _begun.ContainsKey(source)) continue;
            var kernel = new Lazy<CompiledKernel>(() => _compiler.Compile(source));
            if (!_begun.TryAdd(source, kernel)) continue;
            // Who asked meanwhile has not found it.
            if (_kernels.ContainsKey(source)) _begun.TryRemove(KeyValuePair.Create(source, kernel));
            else begun.Add(KeyValuePair.Create(source, kernel));
        }
        if (begun.Count == 0) return;
        var options = new ParallelOptions { MaxDegreeOfParallelism = Math.Max(2, Environment.ProcessorCount - 1) };
        _compilations.Add(Task.Run(() => Parallel.ForEach(
            Partitioner.Create(begun, EnumerablePartitionerOptions.NoBuffering), options, (kernel, loop) =>
            {
                if (_isDisposed) loop.Stop();
                else Compile(kernel);
            })));
    }

    /// <summary>Unloads all kernels, after the work that is on the device.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        Task.WaitAll([.. _compilations]);
        foreach (Lazy<CudaKernel> kernel in _kernels.Values)
        {
            if (kernel.IsValueCreated) kernel.Value.Module.Dispose();
        }
        _kernels.Clear();
    }

    private void Compile(KeyValuePair<KernelSource, Lazy<CompiledKernel>> begun)
    {
        try
        {
            _ = begun.Value.Value;
        }
        catch (Exception)
        {
            // Who waits for it has it already. What failed for want of memory may work when it is asked for.
            _begun.TryRemove(begun);
        }
    }

    private CudaKernel Load(KernelSource source)
    {
        CompiledKernel compiled = _begun.TryRemove(source, out Lazy<CompiledKernel>? begun) ? begun.Value : _compiler.Compile(source);
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
