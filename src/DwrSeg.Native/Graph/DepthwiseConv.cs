using System.Collections.Immutable;

namespace DwrSeg.Native.Graph;

/// <summary>
/// Depth-wise 3x3 convolution of stride 1 with zero padding = dilation (the paper's Semantic Residualization). Inputs: x (N, H, W, G),
/// weights (1, 3, 3, G·m), optionally a bias (1, 1, 1, G·m). Output channel c reads input channel c / m, as PyTorch's grouped convolution.
/// </summary>
internal sealed record DepthwiseConv(int Dilation = 1) : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        ShapeException.Require(inputs.Length is 2 or 3, $"takes x, weights and optionally a bias, not {inputs.Length} inputs.");
        (Shape x, Shape w) = (inputs[0], inputs[1]);
        ShapeException.Require(Dilation >= 1, $"dilation {Dilation} must be at least 1.");
        ShapeException.Require(w is { N: 1, H: 3, W: 3 } && w.C % x.C == 0, $"weights {w} do not fit input {x}: they must be 1x3x3x(m·{x.C}).");
        ShapeException.Require(inputs.Length == 2 || inputs[2] == Shape.Vector(w.C), $"bias {inputs[^1]} should be {Shape.Vector(w.C)}.");
        return [x with { C = w.C }];
    }

    /// <inheritdoc/>
    public override long Multiplies(Node node) => node.Output.Shape.Pixels * node.Inputs[1].Shape.Elements;

    /// <inheritdoc/>
    public override void Differentiate(Node node, IGradients gradients)
    {
        TensorView x = node.Inputs[0], w = node.Inputs[1], dy = gradients.Of(node.Output);
        gradients.Add($"{node.Name}/dw", new DepthwiseWeightGradient(Dilation, dy.Channels / x.Channels), [x, dy], w);
        if (node.Inputs.Length == 3) gradients.Add($"{node.Name}/db", new BiasGradient(), [dy], node.Inputs[2]);
        if (gradients.IsWanted(x)) gradients.Add($"{node.Name}/dx", new DepthwiseDataGradient(Dilation, dy.Channels / x.Channels), [w, dy], x);
    }
}

/// <summary>Gradient of <see cref="DepthwiseConv"/> by its input. Inputs: weights (1, 3, 3, G·m), dy. Output: dx (N, H, W, G).</summary>
internal sealed record DepthwiseDataGradient(int Dilation, int Multiplier) : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        (Shape w, Shape dy) = (inputs[0], inputs[1]);
        ShapeException.Require(w.C == dy.C && dy.C % Multiplier == 0, $"weights {w} do not fit the gradient {dy}.");
        return [dy with { C = dy.C / Multiplier }];
    }

    /// <inheritdoc/>
    public override long Multiplies(Node node) => node.Inputs[1].Shape.Pixels * node.Inputs[0].Shape.Elements;
}

/// <summary>Gradient of <see cref="DepthwiseConv"/> by its weights. Inputs: x, dy. Output: dw (1, 3, 3, G·m).</summary>
internal sealed record DepthwiseWeightGradient(int Dilation, int Multiplier) : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        (Shape x, Shape dy) = (inputs[0], inputs[1]);
        ShapeException.Require(x with { C = x.C * Multiplier } == dy, $"gradient {dy} does not fit input {x}.");
        return [new Shape(1, 3, 3, dy.C)];
    }

    /// <inheritdoc/>
    public override ElementType OutputType(int index) => ElementType.Float32;

    /// <inheritdoc/>
    public override long Multiplies(Node node) => node.Inputs[1].Shape.Pixels * node.Output.Shape.Elements;
}
