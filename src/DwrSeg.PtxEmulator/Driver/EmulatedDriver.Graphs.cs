using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.PtxEmulator.Driver;

internal sealed unsafe partial class EmulatedDriver
{
    private readonly List<StreamCapture> _captures = [];

    public CUresult StreamBeginCapture(CUstream stream, CUstreamCaptureMode mode)
    {
        lock (_gate)
        {
            if (!FindStream(stream, out DeviceStream? origin, out _, out CUresult status)) return status;
            if (!Enum.IsDefined(mode)) return Fail(CUresult.InvalidValue, $"unknown mode {mode}");
            if (origin.IsLegacy) return Fail(CUresult.StreamCaptureUnsupported, "the default stream cannot be captured");
            if (origin.Capture is not null) return Fail(CUresult.IllegalState, "the stream is being captured already");
            var capture = new StreamCapture(origin, mode, Environment.CurrentManagedThreadId);
            capture.Join(origin, []);
            _captures.Add(capture);
            return CUresult.Success;
        }
    }

    public CUresult StreamEndCapture(CUstream stream, out CUgraph graph)
    {
        lock (_gate)
        {
            graph = default;
            if (!FindStream(stream, out DeviceStream? origin, out EmulatedContext? context, out CUresult status)) return status;
            if (origin.Capture is not StreamCapture capture) return Fail(CUresult.IllegalState, "the stream is not being captured");
            if (capture.Origin != origin)
            {
                capture.Invalidate();
                return Fail(CUresult.StreamCaptureUnmatched, "the capture was begun on another stream");
            }
            if (capture.Mode != CUstreamCaptureMode.Relaxed && capture.Thread != Environment.CurrentManagedThreadId)
                return Fail(CUresult.StreamCaptureWrongThread, "the capture was begun on another thread");
            bool joined = capture.IsJoined();
            IReadOnlyList<GraphNode> nodes = capture.End();
            _captures.Remove(capture);
            if (capture.IsInvalid) return Fail(CUresult.StreamCaptureInvalidated, "a call broke the capture while it lasted");
            if (!joined)
                return Fail(CUresult.StreamCaptureUnjoined, "the capture's first stream does not wait for all work of the others");
            graph = new CUgraph(_handles.Add(new WorkGraph(context, nodes)));
            return CUresult.Success;
        }
    }

    public CUresult StreamIsCapturing(CUstream stream, out CUstreamCaptureStatus status)
    {
        lock (_gate)
        {
            status = CUstreamCaptureStatus.None;
            if (!FindStream(stream, out DeviceStream? asked, out _, out CUresult result)) return result;
            status = asked.CaptureStatus;
            return CUresult.Success;
        }
    }

    public CUresult GraphGetNodeCount(CUgraph graph, out ulong count)
    {
        lock (_gate)
        {
            count = 0;
            if (!Enter(graph.Value, out WorkGraph? counted, out _, out CUresult status)) return status;
            count = (ulong)counted.Count;
            return CUresult.Success;
        }
    }

    public CUresult GraphDestroy(CUgraph graph)
    {
        lock (_gate)
        {
            if (!Enter(graph.Value, out WorkGraph? _, out _, out CUresult status)) return status;
            _handles.Remove(graph.Value);
            return CUresult.Success;
        }
    }

    public CUresult GraphInstantiate(out CUgraphExec exec, CUgraph graph, ulong flags)
    {
        lock (_gate)
        {
            exec = default;
            if (!Enter(graph.Value, out WorkGraph? source, out EmulatedContext? context, out CUresult status)) return status;
            if (flags != 0) return Fail(CUresult.InvalidValue, $"the emulator knows no flags of instantiation, {flags} were given");
            exec = new CUgraphExec(_handles.Add(new ExecutableGraph(context, source.Nodes)));
            return CUresult.Success;
        }
    }

    public CUresult GraphExecUpdate(CUgraphExec exec, CUgraph graph)
    {
        lock (_gate)
        {
            if (!Enter(exec.Value, out ExecutableGraph? updated, out _, out CUresult status)) return status;
            if (!Enter(graph.Value, out WorkGraph? source, out _, out status)) return status;
            return updated.TryUpdate(source)
                ? CUresult.Success
                : Fail(CUresult.GraphExecUpdateFailure,
                    $"{source.Count} nodes, and other kinds or edges than the {updated.Count} of the executable graph");
        }
    }

    public CUresult GraphLaunch(CUgraphExec exec, CUstream stream)
    {
        lock (_gate)
        {
            if (!Enter(exec.Value, out ExecutableGraph? graph, out _, out CUresult status)) return status;
            if (!EnterStream(stream, out DeviceStream? on, out _, out status)) return status;
            if (on.Capture is not null) on.Capture.Add(on, new ChildGraphWork(graph.Nodes));
            else graph.Launch(on);
            return CUresult.Success;
        }
    }

    public CUresult GraphExecDestroy(CUgraphExec exec)
    {
        lock (_gate)
        {
            if (!Enter(exec.Value, out ExecutableGraph? _, out _, out CUresult status)) return status;
            _handles.Remove(exec.Value);
            return CUresult.Success;
        }
    }

    /// <summary>Whether a call that may wait for the device is allowed; it breaks the captures that forbid it.</summary>
    private bool MayWait(out CUresult status)
    {
        status = CUresult.Success;
        foreach (StreamCapture capture in _captures.Where(c => c.Forbids(Environment.CurrentManagedThreadId)))
            status = Break(capture, "a call that may wait for the device, while a stream is being captured");
        return status == CUresult.Success;
    }

    private CUresult Break(StreamCapture capture, string why)
    {
        capture.Invalidate();
        return Fail(CUresult.StreamCaptureUnsupported, why);
    }

    /// <summary>Lets a stream wait for a place in a capture: it takes part from there on.</summary>
    private CUresult JoinCapture(DeviceStream stream, CaptureMark place)
    {
        if (place.Capture.IsEnded) return Fail(CUresult.CapturedEvent, "the event was recorded in a capture that has ended");
        if (place.Capture.IsInvalid) return Fail(CUresult.StreamCaptureInvalidated, "an earlier call broke the capture");
        if (stream.IsLegacy)
        {
            place.Capture.Invalidate();
            return Fail(CUresult.StreamCaptureImplicit, "the default stream cannot take part in a capture");
        }
        if (stream.Capture is not null && stream.Capture != place.Capture)
        {
            stream.Capture.Invalidate();
            place.Capture.Invalidate();
            return Fail(CUresult.StreamCaptureMerge, "two captures would become one");
        }
        place.Capture.Join(stream, place.Frontier);
        return CUresult.Success;
    }
}
