namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// Folds a BN's statistics and affine parameters into a convolution's weights and bias. Runs when weights change, so it is written for
/// exactness: sums in fp64, one rounding at the end.
/// </summary>
internal static unsafe class FoldBatchNorm
{
    /// <summary>A BN's parameters and running statistics.</summary>
    public readonly struct Norm(float* gamma, float* beta, float* mean, float* variance, float epsilon)
    {
        public double Scale(int c) => gamma[c] / Math.Sqrt((double)variance[c] + epsilon);

        public double Shift(int c) => beta[c] - mean[c] * Scale(c);
    }

    /// <summary>BN after a dense convolution: w'[o, …] = w·s[o], b'[o] = b·s[o] + shift[o]. <paramref name="bias"/> may be null.</summary>
    public static void Dense(float* weights, float* bias, Norm norm, int outputs, int perOutput, float* foldedWeights, float* foldedBias)
    {
        for (int o = 0; o < outputs; o++)
        {
            double s = norm.Scale(o);
            for (int i = 0; i < perOutput; i++) foldedWeights[o * perOutput + i] = (float)(weights[o * perOutput + i] * s);
            foldedBias[o] = (float)((bias is null ? 0 : bias[o] * s) + norm.Shift(o));
        }
    }

    /// <summary>BN after a depth-wise convolution with tap-major weights [taps][channels].</summary>
    public static void Depthwise(float* weights, float* bias, Norm norm, int taps, int channels, float* foldedWeights, float* foldedBias)
    {
        for (int c = 0; c < channels; c++)
        {
            double s = norm.Scale(c);
            for (int tap = 0; tap < taps; tap++) foldedWeights[tap * channels + c] = (float)(weights[tap * channels + c] * s);
            foldedBias[c] = (float)((bias is null ? 0 : bias[c] * s) + norm.Shift(c));
        }
    }

    /// <summary>
    /// BN in front of a dense convolution: w'[o, ky, kx, i] = w·s[i]; the bias is a vector for 1x1 kernels and for 3x3 the table of
    /// <see cref="Graph.Conv2d.BorderCases"/> rows, each summing the shift over the taps that lie inside the map.
    /// </summary>
    public static void Input(
        float* weights, float* bias, Norm norm, int outputs, int kernel, int inputs, float* foldedWeights, float* foldedBias)
    {
        int taps = kernel * kernel, rows = kernel == 3 ? Graph.Conv2d.BorderCases : 1;
        double* shifted = stackalloc double[taps];
        for (int o = 0; o < outputs; o++)
        {
            for (int tap = 0; tap < taps; tap++)
            {
                float* w = weights + ((long)o * taps + tap) * inputs, folded = foldedWeights + ((long)o * taps + tap) * inputs;
                double sum = 0;
                for (int i = 0; i < inputs; i++)
                {
                    sum += w[i] * norm.Shift(i);
                    folded[i] = (float)(w[i] * norm.Scale(i));
                }
                shifted[tap] = sum;
            }
            for (int row = 0; row < rows; row++)
            {
                double sum = bias is null ? 0 : bias[o];
                for (int tap = 0; tap < taps; tap++)
                {
                    if (rows == 1 || (IsInside(row / 4, tap / 3) && IsInside(row % 4, tap % 3))) sum += shifted[tap];
                }
                foldedBias[row * outputs + o] = (float)sum;
            }
        }
    }

    // A border case has bit 0 where the tap before the pixel is outside, bit 1 where the tap behind it is.
    private static bool IsInside(int borderCase, int tap) => tap switch
    {
        0 => (borderCase & 1) == 0,
        2 => (borderCase & 2) == 0,
        _ => true,
    };
}
