using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda;

/// <summary>A queue of work on a device. Work on it runs in order; a new stream does not wait for the default stream.</summary>
internal sealed class CudaStream : IDisposable
{
    private const uint NonBlocking = 1;

    private static readonly CudaHandle.Destroyer Destroy = (driver, value) => driver.StreamDestroy(new CUstream(value));

    private readonly CudaHandle? _owned;
    private readonly CUstream _foreign;

    /// <summary>Makes a stream.</summary>
    /// <param name="context">The context.</param>
    /// <param name="priority">Lower numbers run first; 0 is the usual one.</param>
    public CudaStream(CudaContext context, int priority = 0)
    {
        Context = context;
        using ContextScope scope = context.Enter();
        CudaStatus.Check(context.Driver, context.Driver.StreamCreateWithPriority(out CUstream stream, NonBlocking, priority));
        _owned = new CudaHandle(context.Handle, stream.Value, Destroy);
    }

    /// <summary>Wraps a stream that other code owns (ManagedCuda's, TorchSharp's), or, with the zero handle, the default stream.</summary>
    public CudaStream(CudaContext context, CUstream foreign) => (Context, _foreign) = (context, foreign);

    public CudaContext Context { get; }

    /// <summary>The driver's handle.</summary>
    public CUstream Stream => _owned is null ? _foreign : new CUstream(_owned.Value);

    /// <summary>Whether all its work has ended.</summary>
    public bool IsIdle
    {
        get
        {
            using ContextScope scope = Context.Enter();
            CUresult status = Context.Driver.StreamQuery(Stream);
            if (status == CUresult.NotReady) return false;
            if (status != CUresult.Success) throw CudaStatus.Failure(Context.Driver, status, "cuStreamQuery");
            return true;
        }
    }

    /// <summary>Waits until all its work has ended.</summary>
    public void Synchronize()
    {
        using ContextScope scope = Context.Enter();
        CudaStatus.Check(Context.Driver, Context.Driver.StreamSynchronize(Stream));
    }

    /// <summary>Lets later work of this stream wait for an event.</summary>
    public void WaitFor(CudaEvent @event)
    {
        using ContextScope scope = Context.Enter();
        CudaStatus.Check(Context.Driver, Context.Driver.StreamWaitEvent(Stream, @event.Event, 0));
    }

    /// <summary>
    /// Records what <paramref name="work"/> puts on this stream instead of running it. The work must not wait, allocate outside pools or
    /// dispose what it uses; memory that any thread disposes meanwhile is freed when it has ended. When it throws, the capture is ended and dropped.
    /// </summary>
    public CudaGraph Capture(Action<CudaStream> work)
    {
        using ContextScope scope = Context.Enter();
        using CaptureGate.Capturing capturing = Context.Handle.Gate.BeginCapture();
        ICudaDriver driver = Context.Driver;
        // Other threads (and the finalizer's) may allocate and free meanwhile.
        CudaStatus.Check(driver, driver.StreamBeginCapture(Stream, CUstreamCaptureMode.ThreadLocal));
        bool ended = false;
        try
        {
            work(this);
            CudaStatus.Check(driver, driver.StreamEndCapture(Stream, out CUgraph graph));
            ended = true;
            return new CudaGraph(Context, graph);
        }
        finally
        {
            if (!ended && driver.StreamEndCapture(Stream, out CUgraph dropped) == CUresult.Success) driver.GraphDestroy(dropped);
        }
    }

    /// <summary>Says what a range of device memory holds from here on; see <see cref="ICudaDriver.MarkRegion"/>.</summary>
    public void MarkRegion(CUdeviceptr address, ulong bytes, string? name)
    {
        using ContextScope scope = Context.Enter();
        CudaStatus.Check(Context.Driver, Context.Driver.MarkRegion(address, bytes, name, Stream));
    }

    /// <summary>Gives the stream back; work that is on it still runs to its end.</summary>
    public void Dispose() => _owned?.Dispose();
}
