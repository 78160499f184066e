using System.Collections.Immutable;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Tests.Oracle;

/// <summary>
/// A scalar that depends on every element of a tensor, to differentiate by. Inputs: x, weights of x's shape. Output: Σ x · weight.
/// Only the oracle executes it.
/// </summary>
internal sealed record WeightedSum : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        ShapeException.Require(inputs.Length == 2 && inputs[0] == inputs[1], $"weights {inputs[^1]} do not fit {inputs[0]}.");
        return [Shape.Scalar];
    }

    /// <inheritdoc/>
    public override void Differentiate(Node node, IGradients gradients) =>
        gradients.Add($"{node.Name}/dx", new WeightedSumGradient(), [node.Inputs[1], gradients.Of(node.Output)], node.Inputs[0]);
}

/// <summary>Gradient of <see cref="WeightedSum"/>. Inputs: weights, dy (a scalar). Output: dx = weights · dy.</summary>
internal sealed record WeightedSumGradient : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs) => [inputs[0]];
}
