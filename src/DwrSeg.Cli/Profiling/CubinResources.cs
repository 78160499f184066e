using System.Collections.Concurrent;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;

namespace DwrSeg.Cli.Profiling;

/// <summary>Registers and memory of kernels without a device: from the cubins that NVRTC makes for an architecture.</summary>
internal sealed class CubinResources(Nvrtc compiler, ComputeCapability architecture)
{
    private readonly ConcurrentDictionary<KernelVariant, KernelResources?> _known = new();
    private readonly KernelCompiler _compiler = new(compiler, TargetFor(compiler, architecture), KernelFiles.Embedded, KernelDiskCache.ForUser());

    /// <summary>A variant's; null where the compiler is older than the architecture and makes PTX alone.</summary>
    /// <exception cref="KernelCompilationException">It does not compile.</exception>
    public KernelResources? Of(KernelVariant variant) => _known.GetOrAdd(variant, v =>
    {
        if (_compiler.Target.IsPtx) return null;
        CompiledKernel compiled = _compiler.Compile(v.Source);
        return KernelResources.OfCubin(compiled.Image, compiled.LoweredName, architecture);
    });

    private static NvrtcTarget TargetFor(Nvrtc compiler, ComputeCapability architecture)
    {
        try
        {
            return compiler.TargetFor(architecture, wantsPtx: false);
        }
        catch (CudaException e)
        {
            throw new UsageException(e.Message);
        }
    }
}
