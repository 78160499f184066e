using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda;

/// <summary>A mark in a stream, to wait for and to measure time between.</summary>
internal sealed class CudaEvent : IDisposable
{
    private const uint DisableTiming = 2;

    private static readonly CudaHandle.Destroyer Destroy = (driver, value) => driver.EventDestroy(new CUevent(value));

    private readonly CudaContext _context;
    private readonly CudaHandle _handle;

    /// <summary>Makes an event that no stream has reached yet.</summary>
    /// <param name="context">The context.</param>
    /// <param name="timed">Whether it notes the time; without it, waiting is cheaper.</param>
    public CudaEvent(CudaContext context, bool timed = true)
    {
        _context = context;
        using ContextScope scope = context.Enter();
        CudaStatus.Check(context.Driver, context.Driver.EventCreate(out CUevent @event, timed ? 0 : DisableTiming));
        _handle = new CudaHandle(context.Handle, @event.Value, Destroy);
    }

    public CUevent Event => new(_handle.Value);

    /// <summary>Whether the streams' work before it has ended; true also before it is recorded.</summary>
    public bool IsReached
    {
        get
        {
            using ContextScope scope = _context.Enter();
            CUresult status = _context.Driver.EventQuery(Event);
            if (status == CUresult.NotReady) return false;
            if (status != CUresult.Success) throw CudaStatus.Failure(_context.Driver, status, "cuEventQuery");
            return true;
        }
    }

    /// <summary>Puts the mark after all work that is now on the stream.</summary>
    public void Record(CudaStream stream)
    {
        using ContextScope scope = _context.Enter();
        CudaStatus.Check(_context.Driver, _context.Driver.EventRecord(Event, stream.Stream));
    }

    /// <summary>Waits until the stream has reached it.</summary>
    public void Synchronize()
    {
        using ContextScope scope = _context.Enter();
        CudaStatus.Check(_context.Driver, _context.Driver.EventSynchronize(Event));
    }

    /// <summary>Milliseconds on the device from <paramref name="start"/> to <paramref name="end"/>, both reached and timed.</summary>
    public static float ElapsedMilliseconds(CudaEvent start, CudaEvent end)
    {
        using ContextScope scope = start._context.Enter();
        CudaStatus.Check(start._context.Driver, start._context.Driver.EventElapsedTime(out float milliseconds, start.Event, end.Event));
        return milliseconds;
    }

    public void Dispose() => _handle.Dispose();
}
