using System.Collections.Immutable;

namespace DwrSeg.Native.Graph;

/// <summary>
/// Batch normalisation with running statistics (inference): y = (x − mean) · gamma / √(variance + epsilon) + beta.
/// Inputs: x, gamma, beta, running mean, running variance. Output: y.
/// </summary>
internal sealed record BatchNorm(float Epsilon = BatchNorm.DefaultEpsilon) : Layer
{
    /// <summary>PyTorch's epsilon.</summary>
    public const float DefaultEpsilon = 1e-5f;

    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        RequireVectors(inputs, 5);
        return [inputs[0]];
    }

    internal static void RequireVectors(ReadOnlySpan<Shape> inputs, int count)
    {
        ShapeException.Require(inputs.Length == count, $"takes {count} inputs, not {inputs.Length}.");
        Shape vector = Shape.Vector(inputs[0].C);
        for (int i = 1; i < count; i++) ShapeException.Require(inputs[i] == vector, $"input {i} is {inputs[i]}, for {inputs[0]} it must be {vector}.");
    }
}

/// <summary>
/// Batch normalisation with the batch's statistics (training), as PyTorch's: normalises with the biased variance, moves the running
/// variance towards the unbiased one. Inputs: x, gamma, beta, running mean, running variance. Outputs: y, the batch's mean and
/// 1/√(variance + epsilon), both (1, 1, 1, C), and the updated running mean and variance.
/// </summary>
internal sealed record BatchNormTraining(float Epsilon = BatchNorm.DefaultEpsilon, float Momentum = 0.1f) : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        BatchNorm.RequireVectors(inputs, 5);
        Shape vector = Shape.Vector(inputs[0].C);
        return [inputs[0], vector, vector, vector, vector];
    }

    /// <inheritdoc/>
    public override ElementType OutputType(int index) => index == 0 ? ElementType.Compute : ElementType.Float32;

    /// <inheritdoc/>
    public override void Differentiate(Node node, IGradients gradients)
    {
        TensorView x = node.Inputs[0], gamma = node.Inputs[1], beta = node.Inputs[2];
        TensorView mean = node.Outputs[1].View, inverseDeviation = node.Outputs[2].View;
        gradients.Add($"{node.Name}/dx", new BatchNormGradient(), [x, gamma, mean, inverseDeviation, gradients.Of(node.Output)], x, gamma, beta);
    }
}

/// <summary>
/// Gradient of <see cref="BatchNormTraining"/>. Inputs: x, gamma, the batch's mean and inverse deviation, dy. Outputs: dx, dgamma, dbeta.
/// </summary>
internal sealed record BatchNormGradient : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        ShapeException.Require(inputs.Length == 5 && inputs[4] == inputs[0], $"the gradient {inputs[^1]} must have the input's shape {inputs[0]}.");
        BatchNorm.RequireVectors(inputs[..4], 4);
        Shape vector = Shape.Vector(inputs[0].C);
        return [inputs[0], vector, vector];
    }

    /// <inheritdoc/>
    public override ElementType OutputType(int index) => index == 0 ? ElementType.Compute : ElementType.Float32;
}
