using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Launches <c>cross_entropy_gradient.cu</c>: the gradient of a weighted cross-entropy.</summary>
internal static class CrossEntropyGradientCuda
{
    private const int Threads = 256, Pixels = 32, BlocksPerMultiprocessor = 8;

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants => [Variant(false), Variant(true)];

    /// <summary>
    /// dlogits = weight · (softmax − one-hot) · dLoss, written or added. Of a pixel of weight 0 neither label nor logits are read.
    /// </summary>
    /// <param name="kernels">Kernels of the device.</param>
    /// <param name="logits">A class a channel.</param>
    /// <param name="labels">A byte a pixel.</param>
    /// <param name="weights">An fp32 number a pixel.</param>
    /// <param name="dLoss">The loss's gradient, an fp32 scalar.</param>
    /// <param name="dlogits">Of the logits' size.</param>
    /// <param name="accumulate">Adds to what is there.</param>
    /// <exception cref="ArgumentException">The maps differ in size or are not fp32, or there is none of something.</exception>
    public static CudaLaunch Prepare(
        KernelCache kernels, in DeviceMap logits, CUdeviceptr labels, CUdeviceptr weights, CUdeviceptr dLoss, in DeviceMap dlogits, bool accumulate)
    {
        TrainingMaps.Validate("cross_entropy_gradient, logits", logits);
        TrainingMaps.Validate("cross_entropy_gradient, dlogits", dlogits);
        TrainingMaps.RequireSame("cross_entropy_gradient, dlogits", dlogits, logits);
        if (labels.Value == 0) throw new ArgumentException("cross_entropy_gradient: there are no labels.");
        TrainingMaps.ValidateVectors("cross_entropy_gradient", weights, dLoss);
        Arguments arguments = new()
        {
            Logits = logits.Data, Labels = labels, Weights = weights, DLoss = dLoss, DLogits = dlogits.Data, PixelCount = logits.Pixels,
            Stride = logits.PixelStride, GradientStride = dlogits.PixelStride, Classes = logits.C,
        };
        var grid = new Grid(Math.Min(Grid.Blocks(logits.Pixels, Pixels), (long)BlocksPerMultiprocessor * kernels.Context.Device.MultiprocessorCount));
        return new CudaLaunch<Arguments>(kernels, Variant(accumulate), grid, Threads, 0, arguments)
        {
            Bytes = logits.Bytes + (1 + sizeof(float)) * logits.Pixels + (accumulate ? 2 : 1) * dlogits.Bytes,
            Flops = 8 * logits.Elements,
        };
    }

    private static KernelVariant Variant(bool accumulate) => KernelVariant.Of("cross_entropy_gradient", $"ACCUMULATE={(accumulate ? 1 : 0)}");

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr Logits, Labels, Weights, DLoss, DLogits;
        public long PixelCount;
        public int Stride, GradientStride, Classes, Padding;
    }
}
