using System.Collections.Immutable;

namespace DwrSeg.Native.Graph;

/// <summary>
/// Folds a BN into the convolution before it. Inputs: weights, [bias,] gamma, beta, mean, variance. Outputs: w' = w · s and
/// b' = beta + (b − mean) · s per output channel, s = gamma / √(variance + epsilon). Depends on parameters alone, so it runs when they change.
/// </summary>
internal sealed record FoldBatchNorm(bool Depthwise, bool HasBias, float Epsilon) : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        int channels = Depthwise ? inputs[0].C : inputs[0].N;
        FoldRules.RequireInputs(inputs, HasBias, channels, channels);
        return [inputs[0], Shape.Vector(channels)];
    }

    /// <inheritdoc/>
    public override ElementType OutputType(int index) => ElementType.Float32;
}

/// <summary>
/// Folds a BN into the dense convolution after it. Inputs: weights (O, K, K, I), [bias (O),] gamma, beta, mean, variance (I each).
/// Outputs: w' = w · s per input channel, and the bias: for K = 1 a vector, for K = 3 the table of <see cref="Conv2d.BorderCases"/> rows that
/// zero padding makes necessary (the shift counts only for the taps inside the map).
/// </summary>
internal sealed record FoldInputBatchNorm(bool HasBias, float Epsilon) : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        FoldRules.RequireInputs(inputs, HasBias, inputs[0].N, inputs[0].C);
        return [inputs[0], new Shape(inputs[0].H == 3 ? Conv2d.BorderCases : 1, 1, 1, inputs[0].N)];
    }

    /// <inheritdoc/>
    public override ElementType OutputType(int index) => ElementType.Float32;
}

/// <summary>
/// Folds a linear convolution and the 1x1 convolution after it into one. Inputs: weights a (M, K, K, I), bias a (M), weights b (O, 1, 1, M),
/// bias b (O). Outputs: weights (O, K, K, I), bias (O).
/// </summary>
internal sealed record FoldPointwise : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        ShapeException.Require(
            inputs.Length == 4 && inputs[2] == new Shape(inputs[3].C, 1, 1, inputs[0].N) && inputs[1] == Shape.Vector(inputs[0].N),
            $"takes weights and bias of both convolutions.");
        return [inputs[0] with { N = inputs[2].N }, inputs[3]];
    }

    /// <inheritdoc/>
    public override ElementType OutputType(int index) => ElementType.Float32;
}

file static class FoldRules
{
    public static void RequireInputs(ReadOnlySpan<Shape> inputs, bool hasBias, int biasChannels, int channels)
    {
        int first = hasBias ? 2 : 1;
        ShapeException.Require(inputs.Length == first + 4, $"takes {first + 4} inputs, not {inputs.Length}.");
        ShapeException.Require(!hasBias || inputs[1] == Shape.Vector(biasChannels), $"bias {inputs[1]} must have {biasChannels} channels.");
        foreach (Shape vector in inputs[first..])
            ShapeException.Require(vector == Shape.Vector(channels), $"{vector} must have {channels} channels.");
    }
}
