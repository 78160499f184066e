using System.Collections.Immutable;

namespace DwrSeg.Native.Graph;

/// <summary>
/// Cross-entropy with online hard example mining: the mean over the pixels whose loss exceeds −ln(Threshold), or over the hardest
/// MinKeptFraction of the valid ones where fewer do. Inputs: logits (N, H, W, classes), labels (N, H, W, 1) as bytes. Outputs: the loss (a
/// scalar) and each pixel's weight in it (N, H, W, 1): 1/kept, or 0. No kept pixel: loss 0.
/// </summary>
/// <param name="Ignore">The label of pixels that do not count.</param>
/// <param name="Threshold">Probability of the right class above which a pixel is easy; 1 keeps every valid pixel.</param>
/// <param name="MinKeptFraction">Share of the valid pixels that are kept at least.</param>
internal sealed record OhemCrossEntropy(byte Ignore = 255, float Threshold = 0.7f, float MinKeptFraction = 1f / 16) : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        ShapeException.Require(inputs.Length == 2 && inputs[1] == inputs[0] with { C = 1 }, $"labels {inputs[^1]} do not fit logits {inputs[0]}.");
        ShapeException.Require(inputs[0].C <= 255, $"{inputs[0].C} classes do not fit into byte labels.");
        return [Shape.Scalar, inputs[1]];
    }

    /// <inheritdoc/>
    public override ElementType OutputType(int index) => ElementType.Float32;

    /// <summary>What is wrong where a label is neither a class nor the ignored id.</summary>
    /// <param name="label">The label.</param>
    /// <param name="pixel">Its number among all images' pixels.</param>
    /// <param name="width">Of an image.</param>
    /// <param name="height">Of an image.</param>
    /// <param name="classes">How many there are.</param>
    /// <param name="ignore">The ignored id.</param>
    public static InvalidDataException WrongLabel(byte label, long pixel, int width, int height, int classes, byte ignore) => new(
        $"The label {label} at image {pixel / width / height} of the batch, row {pixel / width % height}, column {pixel % width} is neither a class "
        + $"(0 to {classes - 1}) nor the ignored id {ignore}: check the data set's class list.");

    /// <inheritdoc/>
    public override void Differentiate(Node node, IGradients gradients) => gradients.Add(
        $"{node.Name}/dx", new CrossEntropyGradient(), [node.Inputs[0], node.Inputs[1], node.Outputs[1].View, gradients.Of(node.Output)], node.Inputs[0]);
}

/// <summary>
/// Gradient of a weighted cross-entropy: weight · (softmax − one-hot) · dLoss. Inputs: logits, labels, pixel weights, dLoss (a scalar).
/// Output: dlogits.
/// </summary>
internal sealed record CrossEntropyGradient : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        ShapeException.Require(inputs.Length == 4 && inputs[3] == Shape.Scalar, $"takes logits, labels, weights and the loss's gradient.");
        return [inputs[0]];
    }
}
