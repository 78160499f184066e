using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Launches <c>fold_pointwise.cu</c>: a linear convolution and the 1x1 convolution behind it as one.</summary>
internal static class FoldPointwiseCuda
{
    private const int Threads = 128;

    /// <summary>The only variant.</summary>
    public static KernelVariant Variant { get; } = KernelVariant.Of("fold_pointwise", "");

    /// <summary>All addresses are of fp32 values without gaps: the first convolution's weights (middle, taps, inputs) and bias (middle), the
    /// second's weights (outputs, middle) and bias (outputs), and the results (outputs, taps, inputs) and (outputs).</summary>
    public static CudaLaunch Prepare(
        KernelCache kernels, CUdeviceptr a, CUdeviceptr biasA, CUdeviceptr b, CUdeviceptr biasB, CUdeviceptr weights, CUdeviceptr bias,
        int outputs, int middle, int columns)
    {
        if (outputs < 1 || middle < 1 || columns < 1) throw new ArgumentException($"fold_pointwise: {outputs} outputs, {middle} between, {columns} columns.");
        Arguments arguments = new() { A = a, BiasA = biasA, B = b, BiasB = biasB, Weights = weights, Bias = bias, Middle = middle, Columns = columns };
        return new CudaLaunch<Arguments>(kernels, Variant, new Grid(outputs), Threads, 0, arguments)
        {
            Bytes = 4L * ((long)middle * (columns + 1) + (long)outputs * (middle + columns + 2)),
            Flops = 2L * outputs * middle * (columns + 1),
        };
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr A, BiasA, B, BiasB, Weights, Bias;
        public int Middle, Columns;
    }
}
