using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.PtxEmulator.Driver;

/// <summary>Work of one or several streams that is recorded instead of run.</summary>
/// <param name="origin">The stream that the capture was begun on, and ends on.</param>
/// <param name="mode">Which calls it forbids.</param>
/// <param name="thread">The thread that began it.</param>
internal sealed class StreamCapture(DeviceStream origin, CUstreamCaptureMode mode, int thread)
{
    private readonly List<GraphNode> _nodes = [];
    private readonly List<DeviceStream> _streams = [];

    public DeviceStream Origin { get; } = origin;

    public CUstreamCaptureMode Mode { get; } = mode;

    public int Thread { get; } = thread;

    public IReadOnlyList<DeviceStream> Streams => _streams;

    /// <summary>A call broke it; ending it gives no graph.</summary>
    public bool IsInvalid { get; private set; }

    public bool IsEnded { get; private set; }

    public void Invalidate() => IsInvalid = true;

    /// <summary>Whether a thread's calls that might wait or allocate break the capture.</summary>
    public bool Forbids(int callingThread) => Mode switch
    {
        CUstreamCaptureMode.Global => true,
        CUstreamCaptureMode.ThreadLocal => callingThread == Thread,
        _ => false,
    };

    /// <summary>Lets a stream take part, after the nodes of <paramref name="frontier"/>.</summary>
    public void Join(DeviceStream stream, IEnumerable<int> frontier)
    {
        if (stream.Capture is null)
        {
            stream.Capture = this;
            stream.Frontier = [];
            _streams.Add(stream);
        }
        stream.Frontier.UnionWith(frontier);
    }

    public void Add(DeviceStream stream, Work work)
    {
        _nodes.Add(new GraphNode(work, [.. stream.Frontier.Order()]));
        stream.Frontier = [_nodes.Count - 1];
    }

    /// <summary>Whether the origin's last work comes after all that other streams have recorded.</summary>
    public bool IsJoined()
    {
        var before = new bool[_nodes.Count];
        var open = new Stack<int>(Origin.Frontier);
        while (open.TryPop(out int node))
        {
            if (before[node]) continue;
            before[node] = true;
            foreach (int earlier in _nodes[node].After) open.Push(earlier);
        }
        return Array.TrueForAll(before, b => b);
    }

    /// <summary>Lets go of the streams.</summary>
    public IReadOnlyList<GraphNode> End()
    {
        IsEnded = true;
        foreach (DeviceStream stream in _streams)
        {
            stream.Capture = null;
            stream.Frontier = [];
        }
        return _nodes;
    }
}
