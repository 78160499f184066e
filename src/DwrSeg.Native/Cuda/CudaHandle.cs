using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda;

/// <summary>The retained primary context of a device; released when its owner and everything made in it are gone.</summary>
internal sealed class CudaContextHandle : SafeHandle
{
    private readonly CUdevice _device;

    public CudaContextHandle(CudaDevice device)
        : base(0, ownsHandle: true)
    {
        (Driver, _device) = (device.Driver, device.Handle);
        CudaStatus.Check(Driver, Driver.DevicePrimaryCtxRetain(out CUcontext context, _device));
        SetHandle(context.Value);
        Context = context;
        Gate = CaptureGate.Of(Driver, _device);
    }

    public ICudaDriver Driver { get; }

    /// <summary>Keeps captures and waits for the context apart.</summary>
    public CaptureGate Gate { get; }

    public CUcontext Context { get; }

    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle() => Driver.DevicePrimaryCtxRelease(_device) == CUresult.Success;
}

/// <summary>
/// Something made in a context: stream, event, module, memory, … It keeps the context retained, so that owners may be disposed, or
/// finalized, in any order.
/// </summary>
internal sealed class CudaHandle : OwnedHandle
{
    /// <summary>Gives one kind of thing back to the driver.</summary>
    public delegate CUresult Destroyer(ICudaDriver driver, nint value);

    private readonly CudaContextHandle _context;
    private readonly Destroyer _destroy;
    private readonly bool _awaitsDevice;

    /// <param name="context">The context it was made in.</param>
    /// <param name="value">The driver's handle or address, owned from here on.</param>
    /// <param name="destroy">Gives it back.</param>
    /// <param name="awaitsDevice">The driver does not itself wait for work that uses it, so releasing must.</param>
    public CudaHandle(CudaContextHandle context, nint value, Destroyer destroy, bool awaitsDevice = false)
    {
        (_context, _destroy, _awaitsDevice) = (context, destroy, awaitsDevice);
        bool added = false;
        context.DangerousAddRef(ref added);
        SetHandle(value);
    }

    /// <summary>Forgets the value: someone else gives it back.</summary>
    public void Disown()
    {
        SetHandleAsInvalid();
        _context.DangerousRelease();
    }

    // May run on the finalizer's thread, after the driver has shut down or the context was lost: a status here helps no one.
    protected override bool ReleaseHandle()
    {
        if (_awaitsDevice) return _context.Gate.FreeAfterWait(new CaptureGate.Resource(_context, handle, _destroy));
        ICudaDriver driver = _context.Driver;
        CUresult status;
        using (new ContextScope(driver, _context.Context)) status = _destroy(driver, handle);
        _context.DangerousRelease();
        return status == CUresult.Success;
    }
}
