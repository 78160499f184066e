using System.Collections.Immutable;

namespace DwrSeg.Native.Graph;

/// <summary>
/// Dense 2-D convolution, zero padding Kernel/2, output ceil(input / Stride). Inputs: x (N, H, W, I), weights (O, K, K, I), and
/// optionally a bias (1, 1, 1, O), or with <paramref name="BorderBias"/> a table (16, 1, 1, O) of which each output pixel takes the row
/// (top ? 1 : 0 | bottom ? 2 : 0) · 4 + (left ? 1 : 0 | right ? 2 : 0) of its place on the map. Output: (N, ⌈H/S⌉, ⌈W/S⌉, O).
/// </summary>
internal sealed record Conv2d(int Kernel, int Stride = 1, bool BorderBias = false) : Layer
{
    /// <summary>Rows of a border-bias table: {inner, top, bottom, both} x {inner, left, right, both}.</summary>
    public const int BorderCases = 16;

    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        ShapeException.Require(inputs.Length is 2 or 3, $"takes x, weights and optionally a bias, not {inputs.Length} inputs.");
        ShapeException.Require(Kernel is 1 or 3 && Stride is 1 or 2, $"kernel {Kernel} with stride {Stride} is not supported (1 or 3; 1 or 2).");
        (Shape x, Shape w) = (inputs[0], inputs[1]);
        ShapeException.Require(w.H == Kernel && w.W == Kernel && w.C == x.C, $"weights {w} do not fit input {x} and kernel {Kernel}.");
        if (inputs.Length == 3)
        {
            Shape bias = BorderBias ? new Shape(BorderCases, 1, 1, w.N) : Shape.Vector(w.N);
            ShapeException.Require(inputs[2] == bias, $"bias {inputs[2]} should be {bias}.");
        }
        ShapeException.Require(!BorderBias || (inputs.Length == 3 && Kernel == 3 && Stride == 1), $"a border bias goes with a 3x3 kernel of stride 1.");
        return [new Shape(x.N, (x.H + Stride - 1) / Stride, (x.W + Stride - 1) / Stride, w.N)];
    }

    /// <inheritdoc/>
    public override long Multiplies(Node node) => node.Output.Shape.Pixels * node.Inputs[1].Shape.Elements;

    /// <inheritdoc/>
    public override void Differentiate(Node node, IGradients gradients)
    {
        if (BorderBias) base.Differentiate(node, gradients);
        TensorView x = node.Inputs[0], w = node.Inputs[1], dy = gradients.Of(node.Output);
        if (gradients.IsWanted(w)) gradients.Add($"{node.Name}/dw", new Conv2dWeightGradient(Kernel, Stride), [x, dy], w);
        if (node.Inputs.Length == 3) gradients.Add($"{node.Name}/db", new BiasGradient(), [dy], node.Inputs[2]);
        if (gradients.IsWanted(x)) gradients.Add($"{node.Name}/dx", new Conv2dDataGradient(Kernel, Stride, x.Shape.H, x.Shape.W), [w, dy], x);
    }
}

/// <summary>Gradient of <see cref="Conv2d"/> by its input. Inputs: weights (O, K, K, I), dy. Output: dx (N, Height, Width, I).</summary>
internal sealed record Conv2dDataGradient(int Kernel, int Stride, int Height, int Width) : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        (Shape w, Shape dy) = (inputs[0], inputs[1]);
        ShapeException.Require(w.N == dy.C && w.H == Kernel, $"weights {w} do not fit the gradient {dy}.");
        return [new Shape(dy.N, Height, Width, w.C)];
    }

    /// <inheritdoc/>
    public override long Multiplies(Node node) => node.Inputs[1].Shape.Pixels * node.Inputs[0].Shape.Elements;
}

/// <summary>Gradient of <see cref="Conv2d"/> by its weights. Inputs: x, dy. Output: dw (O, K, K, I).</summary>
internal sealed record Conv2dWeightGradient(int Kernel, int Stride) : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs)
    {
        (Shape x, Shape dy) = (inputs[0], inputs[1]);
        ShapeException.Require(
            x.N == dy.N && dy.H == (x.H + Stride - 1) / Stride && dy.W == (x.W + Stride - 1) / Stride, $"gradient {dy} does not fit input {x}.");
        return [new Shape(dy.C, Kernel, Kernel, x.C)];
    }

    /// <inheritdoc/>
    public override ElementType OutputType(int index) => ElementType.Float32;

    /// <inheritdoc/>
    public override long Multiplies(Node node) => node.Inputs[1].Shape.Pixels * node.Output.Shape.Elements;
}

/// <summary>Sum over all pixels. Input: dy (N, H, W, C). Output: (1, 1, 1, C).</summary>
internal sealed record BiasGradient : Layer
{
    /// <inheritdoc/>
    public override ImmutableArray<Shape> InferShapes(ReadOnlySpan<Shape> inputs) => [Shape.Vector(inputs[0].C)];

    /// <inheritdoc/>
    public override ElementType OutputType(int index) => ElementType.Float32;
}
