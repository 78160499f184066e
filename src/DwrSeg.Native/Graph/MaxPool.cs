using System.Collections.Immutable;

namespace DwrSeg.Native.Graph;

/// <summary>3x3 maximum of stride 2, padding 1 (padding never wins). Input (N, H, W, C), output (N, ⌈H/2⌉, ⌈W/2⌉, C).</summary>
internal sealed record MaxPool : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs) =>
        [inputs[0] with { H = (inputs[0].H + 1) / 2, W = (inputs[0].W + 1) / 2 }];

    /// <inheritdoc/>
    public override void Differentiate(Node node, IGradients gradients) =>
        gradients.Add($"{node.Name}/dx", new MaxPoolGradient(), [node.Inputs[0], gradients.Of(node.Output)], node.Inputs[0]);
}

/// <summary>
/// Gradient of <see cref="MaxPool"/>: each window's gradient goes to its first maximum in row order. Inputs: x, dy. Output: dx.
/// </summary>
internal sealed record MaxPoolGradient : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        (Shape x, Shape dy) = (inputs[0], inputs[1]);
        ShapeException.Require(dy == x with { H = (x.H + 1) / 2, W = (x.W + 1) / 2 }, $"gradient {dy} does not fit input {x}.");
        return [x];
    }
}
