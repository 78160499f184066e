namespace DwrSeg.PtxEmulator.Driver;

/// <summary>A node: its work, and the positions of the nodes before it that it comes after.</summary>
internal sealed record GraphNode(Work Work, int[] After);

/// <summary>A captured graph. It never changes.</summary>
internal sealed class WorkGraph(EmulatedContext context, IReadOnlyList<GraphNode> nodes) : IContextObject
{
    public EmulatedContext Context { get; } = context;

    /// <summary>The nodes, each after all that it comes after.</summary>
    public IReadOnlyList<GraphNode> Nodes { get; } = nodes;

    /// <summary>Nodes that a real driver has too: it knows no marking of regions.</summary>
    public int Count => Nodes.Count(n => n.Work.IsNode);
}

/// <summary>A graph that can be launched, with values that an update can change.</summary>
internal sealed class ExecutableGraph(EmulatedContext context, IReadOnlyList<GraphNode> nodes) : IContextObject
{
    public EmulatedContext Context { get; } = context;

    public IReadOnlyList<GraphNode> Nodes { get; private set; } = nodes;

    public int Count => Nodes.Count(n => n.Work.IsNode);

    /// <summary>The end of its last launch: launches of one executable graph do not overlap.</summary>
    public Operation? Last { get; private set; }

    /// <summary>Takes another graph's values; false, and nothing changed, where that has other nodes or other edges.</summary>
    public bool TryUpdate(WorkGraph graph)
    {
        if (!GraphShape.AreEqual(Nodes, graph.Nodes)) return false;
        Nodes = graph.Nodes;
        return true;
    }

    /// <summary>Puts all nodes on a stream.</summary>
    public void Launch(DeviceStream stream)
    {
        EmulatedContext context = stream.Context;
        var start = new Operation(context, null);
        start.ComesAfter(Last);
        context.Enqueue(stream, start);
        context.Order?.Add("graph", stream, start);
        var end = new Operation(context, null);
        end.ComesAfter(start);
        var operations = new Operation[Nodes.Count];
        IReadOnlyList<Work> works = LaunchChain.Place(Nodes);
        for (int i = 0; i < operations.Length; i++)
        {
            Work work = works[i];
            operations[i] = new Operation(context, () => work.Run(context));
            operations[i].ComesAfter(start);
            foreach (int before in Nodes[i].After) operations[i].ComesAfter(operations[before]);
            end.ComesAfter(operations[i]);
            context.Order?.Add(work.Label, stream, operations[i]);
        }
        context.Enqueue(stream, end);
        context.Order?.Add("graph end", stream, end);
        Last = end;
    }
}

/// <summary>Compares graphs by what a driver sees: the kinds of nodes and the edges between them.</summary>
internal static class GraphShape
{
    public static bool AreEqual(IReadOnlyList<GraphNode> a, IReadOnlyList<GraphNode> b)
    {
        List<(Work Work, int[] After)> left = Visible(a), right = Visible(b);
        return left.Count == right.Count && left.Zip(right).All(pair =>
            pair.First.Work.HasShapeOf(pair.Second.Work) && pair.First.After.AsSpan().SequenceEqual(pair.Second.After));
    }

    // Marks of regions are left out, and edges through them go on to what they come after.
    private static List<(Work Work, int[] After)> Visible(IReadOnlyList<GraphNode> nodes)
    {
        var visible = new List<(Work, int[])>();
        var reach = new SortedSet<int>[nodes.Count];
        for (int i = 0; i < nodes.Count; i++)
        {
            var before = new SortedSet<int>(nodes[i].After.SelectMany(p => reach[p]));
            if (!nodes[i].Work.IsNode)
            {
                reach[i] = before;
                continue;
            }
            reach[i] = [visible.Count];
            visible.Add((nodes[i].Work, [.. before]));
        }
        return visible;
    }
}
