using System.Collections.Immutable;

namespace DwrSeg.Native.Graph;

/// <summary>
/// One operation: its attributes, its shape rule and its gradient rule. A layer owns no tensors and calls no backend; a
/// <see cref="Node"/> applies it to tensors, and each backend has one lowering for it.
/// </summary>
internal abstract record Layer
{
    /// <summary>The shape rule: output shapes from input shapes.</summary>
    /// <exception cref="ShapeException">The inputs do not fit the layer.</exception>
    public abstract ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs);

    /// <summary>Multiply-accumulates of one application; 0 for layers without a product of weights.</summary>
    public virtual long Multiplies(Node node) => 0;

    /// <summary>The gradient rule: adds the layers that carry the outputs' gradients to the inputs.</summary>
    /// <exception cref="NotSupportedException">The layer has no gradient.</exception>
    public virtual void Differentiate(Node node, IGradients gradients) =>
        throw new NotSupportedException($"{GetType().Name} ('{node.Name}') has no gradient; it belongs to inference graphs or to a backward pass.");

    /// <summary>How the elements of output <paramref name="index"/> are stored.</summary>
    public virtual ElementType OutputType(int index) => ElementType.Compute;
}

/// <summary>What a gradient rule may ask for and add.</summary>
internal interface IGradients
{
    /// <summary>The gradient of a node's output.</summary>
    TensorView Of(TensorView output);

    /// <summary>True where a parameter stands behind the view, so that its gradient is wanted.</summary>
    bool IsWanted(TensorView view);

    /// <summary>Adds a layer whose outputs are the gradients of <paramref name="targets"/>: written where they are the first, accumulated where
    /// earlier ones are there already.</summary>
    void Add(string name, Layer layer, ReadOnlySpan<TensorView> inputs, params ReadOnlySpan<TensorView> targets);

    /// <summary>States that <paramref name="gradient"/> is also the gradient of <paramref name="target"/>; copies only where it must.</summary>
    void Pass(string name, TensorView gradient, TensorView target);
}

/// <summary>A tensor range that a node writes, or adds to where <paramref name="Accumulate"/> is set.</summary>
internal readonly record struct NodeOutput(TensorView View, bool Accumulate);

/// <summary>A layer applied to tensors.</summary>
internal sealed record Node(string Name, Layer Layer, ImmutableArray<TensorView> Inputs, ImmutableArray<NodeOutput> Outputs)
{
    /// <summary>The first output's view.</summary>
    public TensorView Output => Outputs[0].View;

    /// <inheritdoc/>
    public override string ToString() =>
        $"{Name}: {Layer} ({string.Join(", ", Inputs)}) -> {string.Join(", ", Outputs.Select(o => (o.Accumulate ? "+=" : "") + o.View))}";
}
