namespace DwrSeg.Native.Graph.Passes;

/// <summary>What passes share: a graph's nodes as a list to rewrite, and the rebuilding of a graph from it.</summary>
internal sealed class GraphEdit(LayerGraph graph)
{
    private readonly Dictionary<Tensor, TensorView> _substitutes = [];
    private readonly HashSet<string> _names = [.. graph.Tensors.Select(t => t.Name)];

    /// <summary>The nodes; a pass replaces, inserts and removes them in place.</summary>
    public List<Node> Nodes { get; } = [.. graph.Nodes];

    /// <summary>True where the caller may read the tensor after a run, so that it has to stay a tensor of its own.</summary>
    public bool IsOutput(Tensor tensor) => graph.Outputs.Contains(tensor);

    /// <summary>Nodes that write any channel of the view.</summary>
    public List<Node> Writers(TensorView view) => Nodes.FindAll(n => n.Outputs.Any(o => o.View.Overlaps(view)));

    /// <summary>Nodes that read any channel of the view.</summary>
    public List<Node> Readers(TensorView view) => Nodes.FindAll(n => n.Inputs.Any(i => i.Overlaps(view)));

    /// <summary>A new tensor; its number is given when the graph is rebuilt.</summary>
    public Tensor Create(string name, Shape shape, ElementType type)
    {
        string unique = name;
        for (int i = 2; !_names.Add(unique); i++) unique = $"{name}:{i}";
        return new Tensor(-1, unique, shape, TensorKind.Activation, type, ParameterLayout.Vector, null);
    }

    /// <summary>Adds <paramref name="layer"/> before <paramref name="position"/>, with new tensors as outputs.</summary>
    public Tensor[] InsertBefore(Node position, string name, Layer layer, params ReadOnlySpan<TensorView> inputs)
    {
        var shapes = new Shape[inputs.Length];
        for (int i = 0; i < shapes.Length; i++) shapes[i] = inputs[i].Shape;
        Tensor[] outputs = [.. layer.InferShapes(shapes).Select((s, i) => Create(i == 0 ? name : $"{name}:{i}", s, layer.OutputType(i)))];
        Nodes.Insert(Nodes.IndexOf(position), new Node(name, layer, [.. inputs], [.. outputs.Select(t => new NodeOutput(t, false))]));
        return outputs;
    }

    /// <summary>Puts <paramref name="replacement"/> where <paramref name="node"/> stands.</summary>
    public void Replace(Node node, Node replacement) => Nodes[Nodes.IndexOf(node)] = replacement;

    /// <summary>From now on <paramref name="tensor"/> is the view <paramref name="place"/>, wherever it is read or written.</summary>
    public void Substitute(Tensor tensor, TensorView place) => _substitutes.Add(tensor, place);

    /// <summary>True where <see cref="Substitute"/> was said of the tensor.</summary>
    public bool IsSubstituted(Tensor tensor) => _substitutes.ContainsKey(tensor);

    /// <summary>The rewritten graph. Inputs stay, tensors that no node touches any more go.</summary>
    public LayerGraph Rebuild()
    {
        var tensors = new List<Tensor>();
        var renumbered = new Dictionary<Tensor, Tensor>();
        foreach (Tensor input in graph.Inputs) Renumber(input);
        List<Node> nodes = [.. Nodes.Select(n => n with
        {
            Inputs = [.. n.Inputs.Select(Map)],
            Outputs = [.. n.Outputs.Select(o => o with { View = Map(o.View) })],
        })];
        return new LayerGraph([.. tensors], [.. nodes], [.. graph.Outputs.Select(Renumber)]);

        TensorView Map(TensorView view)
        {
            while (_substitutes.TryGetValue(view.Tensor, out TensorView place)) view = place.Slice(view.Channel, view.Channels);
            return view with { Tensor = Renumber(view.Tensor) };
        }

        Tensor Renumber(Tensor tensor)
        {
            if (renumbered.TryGetValue(tensor, out Tensor? known)) return known;
            Tensor? alias = tensor.Alias is null ? null : Renumber(tensor.Alias);
            var copy = new Tensor(tensors.Count, tensor.Name, tensor.Shape, tensor.Kind, tensor.Type, tensor.Layout, alias);
            tensors.Add(copy);
            renumbered.Add(tensor, copy);
            return copy;
        }
    }
}
