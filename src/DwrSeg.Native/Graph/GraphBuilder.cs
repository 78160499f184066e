using System.Collections.Immutable;

namespace DwrSeg.Native.Graph;

/// <summary>Builds a graph node by node; applies each layer's shape rule.</summary>
internal sealed class GraphBuilder
{
    private readonly List<Tensor> _tensors = [];
    private readonly List<Node> _nodes = [];
    private readonly HashSet<string> _names = [];

    /// <summary>Starts empty.</summary>
    public GraphBuilder()
    {
    }

    /// <summary>Starts with all of <paramref name="graph"/>, to add to it.</summary>
    public GraphBuilder(LayerGraph graph)
    {
        _tensors.AddRange(graph.Tensors);
        _nodes.AddRange(graph.Nodes);
        _names.UnionWith(graph.Tensors.Select(t => t.Name));
    }

    /// <summary>A tensor that the caller writes before a run.</summary>
    public Tensor Input(string name, Shape shape, ElementType type = ElementType.Compute) => Create(name, shape, TensorKind.Input, type);

    /// <summary>A trainable weight, fp32.</summary>
    public Tensor Parameter(string name, Shape shape, ParameterLayout layout = ParameterLayout.Vector) =>
        Create(name, shape, TensorKind.Parameter, ElementType.Float32, layout);

    /// <summary>State that outlasts a run and is not trained by gradient, fp32.</summary>
    public Tensor State(string name, Shape shape, ParameterLayout layout = ParameterLayout.Vector) =>
        Create(name, shape, TensorKind.State, ElementType.Float32, layout);

    /// <summary>The value of a parameter or state after an update; lives in the same memory.</summary>
    public Tensor Updated(Tensor stored)
    {
        ArgumentNullException.ThrowIfNull(stored);
        if (!stored.IsStored) throw new ArgumentException($"'{stored.Name}' is neither a parameter nor state.", nameof(stored));
        return Create(stored.Name + "'", stored.Shape, stored.Kind, stored.Type, stored.Layout, stored);
    }

    /// <summary>A tensor that layers write, for use with <see cref="AddInto"/>.</summary>
    public Tensor Activation(string name, Shape shape, ElementType type = ElementType.Compute) => Create(name, shape, TensorKind.Activation, type);

    /// <summary>Adds a layer; its outputs become new tensors. Returns the first.</summary>
    public Tensor Add(string name, Layer layer, params ReadOnlySpan<TensorView> inputs) => AddAll(name, layer, inputs)[0];

    /// <summary>Adds a layer; its outputs become new tensors.</summary>
    public ImmutableArray<Tensor> AddAll(string name, Layer layer, params ReadOnlySpan<TensorView> inputs)
    {
        ArgumentNullException.ThrowIfNull(layer);
        ImmutableArray<Shape> shapes = Infer(name, layer, inputs);
        ImmutableArray<Tensor> outputs = [.. shapes.Select((shape, i) => Activation(i == 0 ? name : $"{name}:{i}", shape, layer.OutputType(i)))];
        _nodes.Add(new Node(name, layer, [.. inputs], [.. outputs.Select(t => new NodeOutput(t, false))]));
        return outputs;
    }

    /// <summary>Adds a layer that writes, or adds to, given views.</summary>
    /// <exception cref="ShapeException">The views do not have the shapes that the layer gives.</exception>
    public void AddInto(string name, Layer layer, ReadOnlySpan<TensorView> inputs, params ReadOnlySpan<NodeOutput> outputs)
    {
        ArgumentNullException.ThrowIfNull(layer);
        ImmutableArray<Shape> shapes = Infer(name, layer, inputs);
        ShapeException.Require(shapes.Length == outputs.Length, $"'{name}' has {shapes.Length} outputs, {outputs.Length} views are given.");
        for (int i = 0; i < shapes.Length; i++)
            ShapeException.Require(shapes[i] == outputs[i].View.Shape, $"'{name}' gives {shapes[i]} for output {i}, the view is {outputs[i].View}.");
        _nodes.Add(new Node(name, layer, [.. inputs], [.. outputs]));
    }

    /// <summary>The graph so far.</summary>
    /// <exception cref="InvalidOperationException">A tensor is read before it is written, or written twice.</exception>
    public LayerGraph Build(params ReadOnlySpan<Tensor> outputs) => new([.. _tensors], [.. _nodes], [.. outputs]);

    private static ImmutableArray<Shape> Infer(string name, Layer layer, ReadOnlySpan<TensorView> inputs)
    {
        var shapes = new Shape[inputs.Length];
        for (int i = 0; i < shapes.Length; i++) shapes[i] = inputs[i].Shape;
        try
        {
            return layer.InferShapes(shapes);
        }
        catch (ShapeException e)
        {
            throw new ShapeException($"{layer.GetType().Name} '{name}': {e.Message}");
        }
    }

    private Tensor Create(
        string name, Shape shape, TensorKind kind, ElementType type, ParameterLayout layout = ParameterLayout.Vector, Tensor? alias = null)
    {
        ShapeException.Require(shape is { N: > 0, H: > 0, W: > 0, C: > 0 }, $"Tensor '{name}' would be {shape}: every extent must be positive.");
        if (!_names.Add(name)) throw new ArgumentException($"The graph has a tensor '{name}' already.", nameof(name));
        var tensor = new Tensor(_tensors.Count, name, shape, kind, type, layout, alias);
        _tensors.Add(tensor);
        return tensor;
    }
}
