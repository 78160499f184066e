using System.Collections.Immutable;

namespace DwrSeg.Native.Graph;

/// <summary>
/// One step of stochastic gradient descent as PyTorch's SGD: g = gradient + WeightDecay · p; v = Momentum · v + g; p −= rate · v.
/// Inputs: parameter, gradient, velocity, learning rate (a scalar). Outputs: the updated parameter and velocity, in their own memory.
/// </summary>
internal sealed record SgdUpdate(float Momentum, float WeightDecay) : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        ShapeException.Require(
            inputs.Length == 4 && inputs[0] == inputs[1] && inputs[0] == inputs[2] && inputs[3] == Shape.Scalar,
            $"takes a parameter, a gradient and a velocity of one shape, and a scalar rate.");
        return [inputs[0], inputs[2]];
    }

    /// <inheritdoc/>
    public override ElementType OutputType(int index) => ElementType.Float32;
}
