namespace DwrSeg.Native.Graph;

/// <summary>Who writes and who reads each tensor of a graph; what fusion rules ask.</summary>
internal sealed class GraphIndex
{
    private readonly List<Node>[] _readers;
    private readonly HashSet<Tensor> _updated;
    private readonly Dictionary<Node, int> _positions = new(ReferenceEqualityComparer.Instance);

    public GraphIndex(LayerGraph graph)
    {
        Graph = graph;
        _readers = new List<Node>[graph.Tensors.Length];
        for (int i = 0; i < _readers.Length; i++) _readers[i] = [];
        _updated = [.. graph.Updated];
        for (int i = 0; i < graph.Nodes.Length; i++)
        {
            Node node = graph.Nodes[i];
            _positions.Add(node, i);
            foreach (TensorView input in node.Inputs) _readers[input.Tensor.Id].Add(node);
            foreach (NodeOutput output in node.Outputs.Where(o => o.Accumulate)) _readers[output.View.Tensor.Id].Add(node);
        }
    }

    public LayerGraph Graph { get; }

    /// <summary>True where every run changes the values, see <see cref="LayerGraph.Updated"/>.</summary>
    public bool IsUpdated(TensorView view) => _updated.Contains(view.Tensor);

    public int PositionOf(Node node) => _positions[node];

    /// <summary>
    /// The one node that reads <paramref name="view"/>, where no other reads any of it and the caller can't: what is between may then stay
    /// unwritten. Null otherwise.
    /// </summary>
    public Node? OnlyReader(TensorView view)
    {
        if (Graph.Outputs.Contains(view.Tensor)) return null;
        Node? only = null;
        foreach (Node reader in _readers[view.Tensor.Id])
        {
            foreach (TensorView input in reader.Inputs)
            {
                if (!input.Overlaps(view)) continue;
                if (only is not null || input != view) return null;
                only = reader;
            }
            if (reader.Outputs.Any(o => o.Accumulate && o.View.Overlaps(view))) return null;
        }
        return only;
    }
}
