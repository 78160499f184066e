using System.Runtime.CompilerServices;

namespace DwrSeg.PtxEmulator.Driver;

/// <summary>Something that was put on a stream.</summary>
/// <param name="What">A kernel's name, <c>upload</c>, <c>download</c>, <c>record</c>, <c>wait</c>, <c>graph</c> (the start of one), ….</param>
/// <param name="Stream">The stream, numbered from 0 in the order of their first work.</param>
/// <param name="After">Positions in the log of what it directly comes after and what had not ended when it was put there.</param>
internal sealed record LoggedOperation(string What, int Stream, IReadOnlyList<int> After);

/// <summary>What was put on streams, in the order of the calls, with the order that streams, events and graphs impose on it.</summary>
internal sealed class OrderLog
{
    private readonly List<LoggedOperation> _operations = [];
    private readonly ConditionalWeakTable<Operation, StrongBox<int>> _positions = [];
    private readonly Dictionary<DeviceStream, int> _streams = [];

    public IReadOnlyList<LoggedOperation> Operations => [.. _operations];

    /// <summary>Notes an operation that has all its predecessors.</summary>
    public void Add(string what, DeviceStream stream, Operation operation)
    {
        _streams.TryAdd(stream, _streams.Count);
        var after = new List<int>();
        foreach (Operation before in operation.Predecessors)
        {
            if (_positions.TryGetValue(before, out StrongBox<int>? position)) after.Add(position.Value);
        }
        _positions.Add(operation, new StrongBox<int>(_operations.Count));
        _operations.Add(new LoggedOperation(what, _streams[stream], after));
    }

    public void Clear()
    {
        _operations.Clear();
        _positions.Clear();
    }
}
