using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

/// <summary>A convolution's shape, and plain loops for it with every epilogue.</summary>
internal sealed record ConvolutionCase(int N, int H, int W, int Inputs, int Outputs, int Kernel, int Stride)
{
    public int OutH => (H + Stride - 1) / Stride;

    public int OutW => (W + Stride - 1) / Stride;

    public int Depth => Kernel * Kernel * Inputs;

    public Doubles Convolve(Doubles x, double[] w, double[]? bias, bool isTable, Doubles? residual, ConvRelu relu)
    {
        Doubles y = new(N, OutH, OutW, Outputs);
        for (int n = 0; n < N; n++)
        for (int r = 0; r < OutH; r++)
        for (int k = 0; k < OutW; k++)
        for (int o = 0; o < Outputs; o++)
        {
            int border = ((r == 0 ? 1 : 0) + (r == OutH - 1 ? 2 : 0)) * 4 + (k == 0 ? 1 : 0) + (k == OutW - 1 ? 2 : 0);
            double sum = bias?[isTable ? border * Outputs + o : o] ?? 0;
            for (int tap = 0; tap < Kernel * Kernel; tap++)
            {
                int iy = r * Stride + tap / Kernel - Kernel / 2, ix = k * Stride + tap % Kernel - Kernel / 2;
                if (iy < 0 || iy >= H || ix < 0 || ix >= W) continue;
                for (int i = 0; i < Inputs; i++) sum += x[n, iy, ix, i] * w[(o * Kernel * Kernel + tap) * Inputs + i];
            }
            if (relu == ConvRelu.BeforeResidual) sum = Math.Max(sum, 0);
            sum += residual?[n, r, k, o] ?? 0;
            y[n, r, k, o] = relu == ConvRelu.AfterResidual ? Math.Max(sum, 0) : sum;
        }
        return y;
    }
}
