using System.Runtime.InteropServices;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// Folds a linear convolution a (middle outputs of perOutput weights each) and a 1x1 convolution b behind it into one:
/// w[o, …] = Σ b[o, m] · a[m, …], bias[o] = bias b[o] + Σ b[o, m] · bias a[m].
/// </summary>
internal static unsafe class FoldPointwise
{
    public static void Run(
        float* weightsA, float* biasA, float* weightsB, float* biasB, int outputs, int middle, int perOutput, float* foldedWeights,
        float* foldedBias)
    {
        double* sums = (double*)NativeMemory.Alloc((nuint)perOutput, sizeof(double));
        for (int o = 0; o < outputs; o++)
        {
            new Span<double>(sums, perOutput).Clear();
            double bias = biasB[o];
            for (int m = 0; m < middle; m++)
            {
                double b = weightsB[o * middle + m];
                bias += b * biasA[m];
                for (int i = 0; i < perOutput; i++) sums[i] += b * weightsA[m * perOutput + i];
            }
            for (int i = 0; i < perOutput; i++) foldedWeights[o * perOutput + i] = (float)sums[i];
            foldedBias[o] = (float)bias;
        }
        NativeMemory.Free(sums);
    }
}
