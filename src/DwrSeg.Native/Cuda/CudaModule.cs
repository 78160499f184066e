using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda;

/// <summary>Compiled kernels, loaded into a context.</summary>
internal sealed class CudaModule : IDisposable
{
    private static readonly CudaHandle.Destroyer Destroy = (driver, value) => driver.ModuleUnload(new CUmodule(value));

    private readonly CudaHandle _handle;

    /// <summary>Loads a module.</summary>
    /// <param name="context">The context.</param>
    /// <param name="image">PTX text with a terminating zero, or a cubin.</param>
    /// <param name="about">What it is, for messages: the kernel's file.</param>
    /// <exception cref="CudaException">The driver can't load it; the message holds the assembler's log.</exception>
    public CudaModule(CudaContext context, ReadOnlySpan<byte> image, string about)
    {
        Context = context;
        using ContextScope scope = context.Enter();
        CUresult status = context.Driver.ModuleLoadData(out CUmodule module, image, out string log);
        if (status != CUresult.Success)
        {
            string details = log.Length == 0 ? about : $"{about}; assembler: {log.Trim()}";
            throw CudaStatus.Failure(context.Driver, status, "cuModuleLoadData", details);
        }
        // Unloading code that runs is undefined, so the device is waited for first.
        _handle = new CudaHandle(context.Handle, module.Value, Destroy, awaitsDevice: true);
    }

    public CudaContext Context { get; }

    public CUmodule Module => new(_handle.Value);

    /// <summary>A kernel by its lowered (mangled) name.</summary>
    /// <param name="name">The name in the module.</param>
    /// <param name="parameterBytes">Size of its argument struct, checked at every launch; 0 where it is not known.</param>
    public CudaKernel GetKernel(string name, int parameterBytes = 0) => new(this, name, parameterBytes);

    /// <summary>A <c>__device__</c> or <c>__constant__</c> variable.</summary>
    public (CUdeviceptr Address, ulong Bytes) GetGlobal(string name)
    {
        using ContextScope scope = Context.Enter();
        CUresult status = Context.Driver.ModuleGetGlobal(out CUdeviceptr address, out ulong bytes, Module, name);
        if (status != CUresult.Success) throw CudaStatus.Failure(Context.Driver, status, "cuModuleGetGlobal", name);
        return (address, bytes);
    }

    public void Dispose() => _handle.Dispose();
}
