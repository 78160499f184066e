using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda;

/// <summary>
/// Keeps graph captures and waits for a whole context apart. CUDA forbids such a wait while any stream of the context is being captured, by
/// whichever thread and in whichever mode, and breaks the capture. So what has to wait before it is freed is freed after the captures that are
/// under way; nobody who frees ever waits for a capture, finalizers included. A capture waits for frees that have begun.
/// </summary>
internal sealed class CaptureGate
{
    private static readonly ConditionalWeakTable<ICudaDriver, ConcurrentDictionary<CUdevice, CaptureGate>> Gates = [];

    private readonly object _lock = new();
    private List<Resource> _deferred = [];
    private int _captures;
    private int _waits;

    private CaptureGate()
    {
    }

    /// <summary>The gate of a device's primary context, which all of a process shares.</summary>
    public static CaptureGate Of(ICudaDriver driver, CUdevice device) =>
        Gates.GetValue(driver, _ => new()).GetOrAdd(device, _ => new CaptureGate());

    /// <summary>Begins a capture, which lasts until the result is disposed.</summary>
    public Capturing BeginCapture()
    {
        lock (_lock)
        {
            // First, so that no further wait begins.
            _captures++;
            while (_waits > 0) Monitor.Wait(_lock);
        }
        return new Capturing(this);
    }

    /// <summary>Waits for the device and frees; now, or where streams are being captured when the last of these captures has ended.</summary>
    /// <returns>Whether nothing has failed so far.</returns>
    public bool FreeAfterWait(in Resource resource)
    {
        List<Resource> due;
        lock (_lock)
        {
            _deferred.Add(resource);
            if (_captures > 0) return true;
            due = TakeDue();
        }
        return Free(due);
    }

    private void EndCapture()
    {
        List<Resource> due;
        lock (_lock)
        {
            if (--_captures > 0 || _deferred.Count == 0) return;
            due = TakeDue();
        }
        Free(due);
    }

    private List<Resource> TakeDue()
    {
        List<Resource> due = _deferred;
        _deferred = [];
        _waits++;
        return due;
    }

    private bool Free(List<Resource> due)
    {
        bool freed = true;
        try
        {
            ICudaDriver driver = due[0].Context.Driver;
            using (new ContextScope(driver, due[0].Context.Context))
            {
                if (IsCapturing(driver.CtxSynchronize()))
                {
                    // Other code of the process captures. Work may still use all this: it is freed with what is next to be.
                    lock (_lock) _deferred.AddRange(due);
                    return true;
                }
                // Any other failure has ended the context, and with it the work.
                foreach (Resource resource in due) freed &= resource.Destroy(driver, resource.Value) == CUresult.Success;
            }
            foreach (Resource resource in due) resource.Context.DangerousRelease();
            return freed;
        }
        finally
        {
            lock (_lock)
            {
                _waits--;
                Monitor.PulseAll(_lock);
            }
        }
    }

    private static bool IsCapturing(CUresult status) =>
        status is CUresult.StreamCaptureUnsupported or CUresult.StreamCaptureInvalidated or CUresult.StreamCaptureImplicit;

    /// <summary>Something to be given back, which keeps its context retained until then.</summary>
    internal readonly record struct Resource(CudaContextHandle Context, nint Value, CudaHandle.Destroyer Destroy);

    /// <summary>A capture under way.</summary>
    internal readonly struct Capturing(CaptureGate gate) : IDisposable
    {
        public void Dispose() => gate.EndCapture();
    }
}
