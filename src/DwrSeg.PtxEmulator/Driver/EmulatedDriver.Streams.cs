using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.PtxEmulator.Memory;

namespace DwrSeg.PtxEmulator.Driver;

internal sealed unsafe partial class EmulatedDriver
{
    private const uint NonBlocking = 1;
    private const uint DisableTiming = 2;
    private const nint LegacyHandle = 1;

    public CUresult StreamCreateWithPriority(out CUstream stream, uint flags, int priority)
    {
        lock (_gate)
        {
            stream = default;
            if (!Enter(out EmulatedContext? context, out CUresult status)) return status;
            if (flags > NonBlocking) return Fail(CUresult.InvalidValue, $"unknown flags {flags}");
            stream = new CUstream(_handles.Add(context.AddStream(isBlocking: flags == 0)));
            return CUresult.Success;
        }
    }

    public CUresult StreamDestroy(CUstream stream)
    {
        lock (_gate)
        {
            if (!Enter(stream.Value, out DeviceStream? destroyed, out EmulatedContext? context, out CUresult status)) return status;
            if (destroyed.Capture is not null) return Break(destroyed.Capture, "a stream is destroyed while it is captured");
            context.RemoveStream(destroyed);
            _handles.Remove(stream.Value);
            return CUresult.Success;
        }
    }

    public CUresult StreamSynchronize(CUstream stream)
    {
        lock (_gate)
        {
            if (!EnterToWait(stream, out DeviceStream? waited, out EmulatedContext? context, out CUresult status)) return status;
            return Await(context, End(waited) is Operation end ? [end] : []);
        }
    }

    public CUresult StreamQuery(CUstream stream)
    {
        lock (_gate)
        {
            if (!EnterToWait(stream, out DeviceStream? asked, out EmulatedContext? context, out CUresult status)) return status;
            return Query(context, End(asked));
        }
    }

    public CUresult StreamWaitEvent(CUstream stream, CUevent @event, uint flags)
    {
        lock (_gate)
        {
            if (flags != 0) return Fail(CUresult.InvalidValue, $"unknown flags {flags}");
            if (!EnterStream(stream, out DeviceStream? waiting, out EmulatedContext? context, out CUresult status)) return status;
            // Unlike other handles, an event may be of another device's context.
            DeviceEvent? awaited = _handles.Find<DeviceEvent>(@event.Value);
            if (awaited is null) return Fail(CUresult.InvalidHandle, _handles.Describe<DeviceEvent>(@event.Value));
            if (awaited.Captured is CaptureMark place) return JoinCapture(waiting, place);
            if (awaited.Mark?.Operation is not Operation recorded) return CUresult.Success;
            if (waiting.Capture is not null)
            {
                waiting.Capture.Invalidate();
                return Fail(CUresult.StreamCaptureIsolation,
                    "a captured stream waits for an event that was recorded outside of the capture");
            }
            if (recorded.IsDone) return CUresult.Success;
            var wait = new Operation(context, null);
            wait.ComesAfter(recorded);
            context.Enqueue(waiting, wait);
            context.Order?.Add("wait", waiting, wait);
            return CUresult.Success;
        }
    }

    public CUresult EventCreate(out CUevent @event, uint flags)
    {
        lock (_gate)
        {
            @event = default;
            if (!Enter(out EmulatedContext? context, out CUresult status)) return status;
            if (flags > 3) return Fail(CUresult.InvalidValue, $"unknown flags {flags}");
            @event = new CUevent(_handles.Add(new DeviceEvent(context, isTimed: (flags & DisableTiming) == 0)));
            return CUresult.Success;
        }
    }

    public CUresult EventDestroy(CUevent @event)
    {
        lock (_gate)
        {
            if (!Enter(@event.Value, out DeviceEvent? _, out _, out CUresult status)) return status;
            _handles.Remove(@event.Value);
            return CUresult.Success;
        }
    }

    public CUresult EventRecord(CUevent @event, CUstream stream)
    {
        lock (_gate)
        {
            if (!Enter(@event.Value, out DeviceEvent? recorded, out EmulatedContext? context, out CUresult status)) return status;
            if (!EnterStream(stream, out DeviceStream? on, out _, out status)) return status;
            if (on.Capture is not null)
            {
                recorded.Mark = null;
                recorded.Captured = new CaptureMark(on.Capture, [.. on.Frontier]);
                return CUresult.Success;
            }
            var mark = new EventMark();
            mark.Operation = new Operation(context, () => mark.Ticks = context.BusyTicks);
            recorded.Captured = null;
            recorded.Mark = mark;
            context.Enqueue(on, mark.Operation);
            context.Order?.Add("record", on, mark.Operation);
            return CUresult.Success;
        }
    }

    public CUresult EventSynchronize(CUevent @event)
    {
        lock (_gate)
        {
            if (!EnterEvent(@event, out DeviceEvent? awaited, out EmulatedContext? context, out CUresult status)) return status;
            return Await(context, awaited.Mark?.Operation is Operation recorded ? [recorded] : []);
        }
    }

    public CUresult EventQuery(CUevent @event)
    {
        lock (_gate)
        {
            if (!EnterEvent(@event, out DeviceEvent? asked, out EmulatedContext? context, out CUresult status)) return status;
            return Query(context, asked.Mark?.Operation);
        }
    }

    public CUresult EventElapsedTime(out float milliseconds, CUevent start, CUevent end)
    {
        lock (_gate)
        {
            milliseconds = 0;
            if (!Enter(start.Value, out DeviceEvent? from, out _, out CUresult status)) return status;
            if (!Enter(end.Value, out DeviceEvent? to, out _, out status)) return status;
            if (from.Captured is not null || to.Captured is not null)
                return Fail(CUresult.CapturedEvent, "an event recorded in a capture has no time");
            if (from.Mark is null || to.Mark is null) return Fail(CUresult.InvalidHandle, "an event was never recorded");
            if (!from.IsTimed || !to.IsTimed) return Fail(CUresult.InvalidHandle, "an event was made without timing");
            if (!from.Mark.IsReached || !to.Mark.IsReached) return Fail(CUresult.NotReady, "an event has not been reached");
            milliseconds = (float)((to.Mark.Ticks - from.Mark.Ticks) * 1000.0 / Stopwatch.Frequency);
            return CUresult.Success;
        }
    }

    /// <summary>Puts host code on a stream in place of a library's kernels, or into the graph that captures it.</summary>
    /// <param name="stream">The stream, of the current context.</param>
    /// <param name="name">What it stands for.</param>
    /// <param name="milliseconds">What it takes on a planted clock.</param>
    /// <param name="body">What it does to the device's memory when its turn comes.</param>
    public CUresult Submit(CUstream stream, string name, double milliseconds, Action<DeviceMemory> body)
    {
        lock (_gate)
        {
            if (!EnterStream(stream, out DeviceStream? on, out _, out CUresult status)) return status;
            Submit(on, new HostWork(name, milliseconds, body));
            return CUresult.Success;
        }
    }

    /// <summary>A stream to put work on: it is of the current context, and nothing forbids it.</summary>
    private bool EnterStream(
        CUstream handle, [NotNullWhen(true)] out DeviceStream? stream, [NotNullWhen(true)] out EmulatedContext? context,
        out CUresult status)
    {
        if (!FindStream(handle, out stream, out context, out status)) return false;
        if (stream.Capture is { IsInvalid: true })
        {
            status = Fail(CUresult.StreamCaptureInvalidated, "an earlier call broke this stream's capture");
        }
        else if (stream.IsLegacy)
        {
            DeviceStream asked = stream;
            foreach (StreamCapture capture in _captures.Where(c => c.Streams.Any(s => s.IsBlocking && s.Context == asked.Context)))
            {
                capture.Invalidate();
                status = Fail(CUresult.StreamCaptureImplicit, "work on the default stream would wait for a stream that is being captured");
            }
        }
        return status == CUresult.Success;
    }

    /// <summary>A stream to wait for.</summary>
    private bool EnterToWait(
        CUstream handle, [NotNullWhen(true)] out DeviceStream? stream, [NotNullWhen(true)] out EmulatedContext? context,
        out CUresult status)
    {
        if (!FindStream(handle, out stream, out context, out status)) return false;
        if (stream.Capture is not null) status = Break(stream.Capture, "a stream that is captured cannot be waited for");
        return status == CUresult.Success && MayWait(out status);
    }

    private bool EnterEvent(
        CUevent handle, [NotNullWhen(true)] out DeviceEvent? @event, [NotNullWhen(true)] out EmulatedContext? context, out CUresult status)
    {
        if (!Enter(handle.Value, out @event, out context, out status)) return false;
        if (@event.Captured is not null)
        {
            if (!@event.Captured.Capture.IsEnded) @event.Captured.Capture.Invalidate();
            status = Fail(CUresult.CapturedEvent,
                "an event recorded in a capture is never reached; only streams of the capture can wait for it");
        }
        return status == CUresult.Success && MayWait(out status);
    }

    private bool FindStream(
        CUstream handle, [NotNullWhen(true)] out DeviceStream? stream, [NotNullWhen(true)] out EmulatedContext? context,
        out CUresult status)
    {
        if (handle.Value is not (0 or LegacyHandle)) return Enter(handle.Value, out stream, out context, out status);
        bool entered = Enter(out context, out status);
        stream = entered ? context!.Legacy : null;
        return entered && stream is not null && context is not null;
    }

    /// <summary>What a wait for a stream waits for. The default stream's end is behind the work of all streams that it blocks.</summary>
    private static Operation? End(DeviceStream stream)
    {
        if (stream.IsLegacy) stream.Context.Enqueue(stream, new Operation(stream.Context, null));
        return stream.Tail;
    }

    private static void Submit(DeviceStream stream, Work work)
    {
        if (stream.Capture is not null)
        {
            stream.Capture.Add(stream, work);
            return;
        }
        EmulatedContext context = stream.Context;
        (Work placed, LaunchChain? chain) = LaunchChain.Place(work, stream.Tail?.Chain);
        var operation = new Operation(context, () => placed.Run(context)) { Chain = chain };
        context.Enqueue(stream, operation);
        context.Order?.Add(work.Label, stream, operation);
    }
}
