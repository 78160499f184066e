using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda;

/// <summary>
/// Makes a context current on the calling thread, and puts back what other code had there. The driver is asked each time: code outside this
/// library may change the current context at any moment. A thread that had none keeps this one, as with CUDA's run time.
/// </summary>
internal readonly ref struct ContextScope : IDisposable
{
    private readonly ICudaDriver? _driver;
    private readonly CUcontext _previous;

    public ContextScope(ICudaDriver driver, CUcontext context)
    {
        if (driver.CtxGetCurrent(out CUcontext current) == CUresult.Success && current == context) return;
        Status = driver.CtxSetCurrent(context);
        if (Status == CUresult.Success && current.Value != 0) (_driver, _previous) = (driver, current);
    }

    /// <summary>Whether the context is current now.</summary>
    public CUresult Status { get; }

    public void Dispose() => _driver?.CtxSetCurrent(_previous);
}
