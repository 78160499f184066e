using System.Collections.Immutable;

namespace DwrSeg.Native.Graph;

/// <summary>y = max(x, 0).</summary>
internal sealed record Relu : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs) => [inputs[0]];

    /// <inheritdoc/>
    public override void Differentiate(Node node, IGradients gradients) =>
        gradients.Add($"{node.Name}/dx", new ReluGradient(), [node.Output, gradients.Of(node.Output)], node.Inputs[0]);
}

/// <summary>Gradient of <see cref="Relu"/>. Inputs: its output y, dy. Output: dx = dy where y &gt; 0, else 0.</summary>
internal sealed record ReluGradient : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        ShapeException.Require(inputs.Length == 2 && inputs[0] == inputs[1], $"output and gradient differ: {inputs[0]} and {inputs[^1]}.");
        return [inputs[0]];
    }
}

/// <summary>y = a + b, shapes equal (the residual connection).</summary>
internal sealed record Add : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        ShapeException.Require(inputs.Length == 2 && inputs[0] == inputs[1], $"the terms differ: {inputs[0]} and {inputs[^1]}.");
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override void Differentiate(Node node, IGradients gradients)
    {
        TensorView dy = gradients.Of(node.Output);
        gradients.Pass($"{node.Name}/da", dy, node.Inputs[0]);
        gradients.Pass($"{node.Name}/db", dy, node.Inputs[1]);
    }
}

/// <summary>y = x.</summary>
internal sealed record Copy : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs) => [inputs[0]];

    /// <inheritdoc/>
    public override void Differentiate(Node node, IGradients gradients) =>
        gradients.Pass($"{node.Name}/dx", gradients.Of(node.Output), node.Inputs[0]);
}

/// <summary>Every element of the output is <paramref name="Value"/>. No inputs.</summary>
internal sealed record Fill(Shape Shape, float Value) : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs) => [Shape];
}

/// <summary>
/// Joins tensors along the channels. A model says it; the pass that places branches turns it into views, so that no backend executes it.
/// </summary>
internal sealed record Concat : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        ShapeException.Require(inputs.Length > 0, $"needs at least one input.");
        int channels = 0;
        foreach (Shape input in inputs)
        {
            ShapeException.Require(input with { C = 1 } == inputs[0] with { C = 1 }, $"{input} and {inputs[0]} differ in more than channels.");
            channels += input.C;
        }
        return [inputs[0] with { C = channels }];
    }
}
