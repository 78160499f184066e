namespace DwrSeg.Native.Cuda.Compilation;

/// <summary>A kernel does not compile: a mistake in the kernel, or an NVRTC that can't take it.</summary>
internal sealed class KernelCompilationException : Exception
{
    public KernelCompilationException(
        string file, string expression, IReadOnlyList<string> options, string log, string status, Nvrtc compiler)
        : base(
            $"{file}: {expression} does not compile with NVRTC {compiler.Version} ({compiler.Location}): {status}\n" +
            $"options: {string.Join(' ', options)}\n{log}") => (File, Log) = (file, log);

    public string File { get; }

    /// <summary>The compiler's messages.</summary>
    public string Log { get; }
}
