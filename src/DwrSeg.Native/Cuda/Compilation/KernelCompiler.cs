namespace DwrSeg.Native.Cuda.Compilation;

/// <summary>Kernels of one architecture as machine code: from the disk where they are kept, else compiled. Needs no device.</summary>
/// <param name="compiler">The compiler.</param>
/// <param name="target">The architecture, and PTX or cubin.</param>
/// <param name="files">Where kernels and headers come from.</param>
/// <param name="disk">Where compiled kernels are kept beyond this process; null for nowhere.</param>
internal sealed class KernelCompiler(Nvrtc compiler, NvrtcTarget target, KernelFiles files, KernelDiskCache? disk)
{
    private int _compiled;
    private int _fromDisk;

    public NvrtcTarget Target => target;

    /// <summary>How many kernels were compiled.</summary>
    public int Compiled => _compiled;

    /// <summary>How many kernels came from the disk.</summary>
    public int FromDisk => _fromDisk;

    /// <summary>The kernel's code. Several threads may ask at a time.</summary>
    /// <exception cref="KernelCompilationException">It does not compile.</exception>
    public CompiledKernel Compile(KernelSource source)
    {
        string text = files.Kernel(source.File);
        NvrtcTarget exact = target with { IsSpecific = source.IsSpecific };
        IReadOnlyList<(string Name, string Text)> headers = files.Headers(text);
        var key = KernelKey.Of(source, text, headers, exact, compiler.Version);
        if (disk?.TryRead(key) is { } kept)
        {
            Interlocked.Increment(ref _fromDisk);
            return kept;
        }
        CompiledKernel compiled = compiler.Compile(source.File + ".cu", text, headers, source.Name, source.CommandLine, exact);
        Interlocked.Increment(ref _compiled);
        disk?.Write(key, compiled);
        return compiled;
    }
}
