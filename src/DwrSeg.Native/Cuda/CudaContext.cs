using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda;

/// <summary>
/// A device in use: its primary context, which all code of the process shares (CUDA's run time, cuDNN, other libraries). Safe to use from
/// several threads; every operation makes it current on its thread for as long as it needs.
/// </summary>
internal sealed class CudaContext : IDisposable
{
    // The handle itself stays open for as long as something made in the context does.
    private volatile bool _isDisposed;

    /// <summary>Opens device <paramref name="ordinal"/>.</summary>
    /// <exception cref="CudaException">There is no such device, or it can't be opened.</exception>
    public CudaContext(ICudaDriver driver, int ordinal = 0)
        : this(new CudaDevice(driver, ordinal))
    {
    }

    public CudaContext(CudaDevice device)
    {
        Device = device;
        Handle = new CudaContextHandle(device);
    }

    public CudaDevice Device { get; }

    public ICudaDriver Driver => Device.Driver;

    internal CudaContextHandle Handle { get; }

    /// <summary>Bytes of device memory that are free, and all there are.</summary>
    public (ulong Free, ulong Total) MemoryInfo
    {
        get
        {
            using ContextScope scope = Enter();
            CudaStatus.Check(Driver, Driver.MemGetInfo(out ulong free, out ulong total));
            return (free, total);
        }
    }

    /// <summary>Makes the context current on this thread until the scope is disposed.</summary>
    /// <exception cref="CudaException">It can't be: it was lost or destroyed.</exception>
    public ContextScope Enter()
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        var scope = new ContextScope(Driver, Handle.Context);
        // Else the call that follows would reach another context, or none.
        if (scope.Status != CUresult.Success) throw CudaStatus.Failure(Driver, scope.Status, "cuCtxSetCurrent");
        return scope;
    }

    /// <summary>Lets go of the device; what was made in the context stays usable only for disposal.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        Handle.Dispose();
    }
}
