using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Tests.Oracle;

internal static class FoldOracle
{
    public static Values[] IntoConvolutionBefore(FoldBatchNorm layer, Values[] inputs)
    {
        Values w = inputs[0];
        Values? bias = layer.HasBias ? inputs[1] : null;
        (double[] scale, double[] shift) = ScaleAndShift(inputs.AsSpan(layer.HasBias ? 2 : 1), layer.Epsilon);
        Values weights = new(w.Shape), newBias = new(Shape.Vector(scale.Length));
        for (int p = 0; p < w.Shape.Pixels; p++)
        {
            int o = p / (w.H * w.W);
            for (int c = 0; c < w.C; c++) weights.Pixel(p)[c] = w.Pixel(p)[c] * scale[layer.Depthwise ? c : o];
        }
        for (int o = 0; o < scale.Length; o++) newBias[o] = shift[o] + (bias is null ? 0 : bias[o] * scale[o]);
        return [weights, newBias];
    }

    public static Values[] IntoConvolutionAfter(FoldInputBatchNorm layer, Values[] inputs)
    {
        Values w = inputs[0];
        Values? bias = layer.HasBias ? inputs[1] : null;
        (double[] scale, double[] shift) = ScaleAndShift(inputs.AsSpan(layer.HasBias ? 2 : 1), layer.Epsilon);
        Values weights = new(w.Shape), table = new(new Shape(w.H == 3 ? Conv2d.BorderCases : 1, 1, 1, w.N));
        for (int o = 0; o < w.N; o++)
        {
            for (int row = 0; row < table.N; row++) table[row, 0, 0, o] = bias is null ? 0 : bias[o];
            for (int ky = 0; ky < w.H; ky++)
            {
                for (int kx = 0; kx < w.W; kx++)
                {
                    double shifted = 0;
                    for (int i = 0; i < w.C; i++)
                    {
                        weights[o, ky, kx, i] = w[o, ky, kx, i] * scale[i];
                        shifted += w[o, ky, kx, i] * shift[i];
                    }
                    for (int row = 0; row < table.N; row++)
                    {
                        if (IsInside(ky, row / 4) && IsInside(kx, row % 4)) table[row, 0, 0, o] += shifted;
                    }
                }
            }
        }
        return [weights, table];
    }

    public static Values[] Pointwise(FoldPointwise layer, Values[] inputs)
    {
        (Values a, Values biasA, Values b, Values biasB) = (inputs[0], inputs[1], inputs[2], inputs[3]);
        Values weights = new(a.Shape with { N = b.N }), bias = new(biasB.Shape);
        for (int o = 0; o < b.N; o++)
        {
            bias[o] = biasB[o];
            for (int m = 0; m < a.N; m++)
            {
                bias[o] += b[o, 0, 0, m] * biasA[m];
                for (int ky = 0; ky < a.H; ky++)
                {
                    for (int kx = 0; kx < a.W; kx++)
                    {
                        for (int i = 0; i < a.C; i++) weights[o, ky, kx, i] += b[o, 0, 0, m] * a[m, ky, kx, i];
                    }
                }
            }
        }
        return [weights, bias];
    }

    // Bit 0: the pixel is in the first row (column), so tap 0 is outside; bit 1: in the last, so tap 2 is.
    private static bool IsInside(int tap, int borderCase) => !(tap == 0 && (borderCase & 1) != 0) && !(tap == 2 && (borderCase & 2) != 0);

    private static (double[] Scale, double[] Shift) ScaleAndShift(ReadOnlySpan<Values> batchNorm, float epsilon)
    {
        (Values gamma, Values beta, Values mean, Values variance) = (batchNorm[0], batchNorm[1], batchNorm[2], batchNorm[3]);
        var scale = new double[gamma.C];
        var shift = new double[gamma.C];
        for (int c = 0; c < gamma.C; c++)
        {
            scale[c] = gamma[c] / Math.Sqrt(variance[c] + epsilon);
            shift[c] = beta[c] - mean[c] * scale[c];
        }
        return (scale, shift);
    }
}
