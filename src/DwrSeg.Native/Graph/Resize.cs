using System.Collections.Immutable;

namespace DwrSeg.Native.Graph;

/// <summary>Bilinear resampling to Height x Width with half-pixel centres (PyTorch's <c>align_corners=False</c>).</summary>
internal sealed record Resize(int Height, int Width) : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs) => [inputs[0] with { H = Height, W = Width }];

    /// <inheritdoc/>
    public override void Differentiate(Node node, IGradients gradients)
    {
        Shape x = node.Inputs[0].Shape;
        gradients.Add($"{node.Name}/dx", new ResizeGradient(x.H, x.W), [gradients.Of(node.Output)], node.Inputs[0]);
    }
}

/// <summary>Gradient of <see cref="Resize"/>: its transpose, from dy back to the input's Height x Width.</summary>
internal sealed record ResizeGradient(int Height, int Width) : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs) => [inputs[0] with { H = Height, W = Width }];
}
