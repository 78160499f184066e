using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>A linear convolution and the 1x1 convolution behind it, to be folded into one. All vectors are fp32.</summary>
/// <param name="Outputs">Outputs of the second.</param>
/// <param name="Middle">Outputs of the first, inputs of the second.</param>
/// <param name="PerOutput">Weights of an output of the first: taps times inputs.</param>
/// <param name="FoldedElement">Type of the folded weights.</param>
internal readonly record struct CudaPointwiseFold(int Outputs, int Middle, int PerOutput, CudaElement FoldedElement)
{
    public required CUdeviceptr WeightsA { get; init; }

    public required CUdeviceptr BiasA { get; init; }

    public required CUdeviceptr WeightsB { get; init; }

    public required CUdeviceptr BiasB { get; init; }

    public required CUdeviceptr FoldedWeights { get; init; }

    public required CUdeviceptr FoldedBias { get; init; }
}

/// <summary>Launches <c>fold_pointwise.cu</c>.</summary>
internal static class FoldPointwiseCuda
{
    private const int Threads = 128;

    /// <summary>The only variant.</summary>
    public static KernelVariant Variant { get; } = KernelVariant.Of("fold_pointwise", "");

    /// <summary>Settles a launch.</summary>
    /// <exception cref="ArgumentException">An extent is not positive, or the device has no such type.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, in CudaPointwiseFold fold)
    {
        if (fold.Outputs <= 0 || fold.Middle <= 0 || fold.PerOutput <= 0)
            throw new ArgumentException($"fold_pointwise: {fold.Outputs} outputs, {fold.Middle} in the middle, {fold.PerOutput} weights each.");
        if (fold.FoldedElement.FirstArchitecture() > kernels.Context.Device.ComputeCapability)
            throw new ArgumentException($"fold_pointwise: {kernels.Context.Device} has no {fold.FoldedElement.KernelName()} kernels.");
        Arguments arguments = new()
        {
            WeightsA = fold.WeightsA, BiasA = fold.BiasA, WeightsB = fold.WeightsB, BiasB = fold.BiasB,
            FoldedWeights = fold.FoldedWeights, FoldedBias = fold.FoldedBias,
            Middle = fold.Middle, PerOutput = fold.PerOutput, Type = fold.FoldedElement,
        };
        long inputs = (long)fold.Middle * (fold.PerOutput + 1) + (long)fold.Outputs * (fold.Middle + 2), folded = (long)fold.Outputs * fold.PerOutput;
        return new CudaLaunch<Arguments>(kernels, Variant, new Grid(fold.Outputs), Threads, 0, arguments)
        {
            Bytes = 4 * inputs + folded * fold.FoldedElement.Bytes(),
            Flops = 2 * fold.Middle * (folded + fold.Outputs),
        };
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr WeightsA, BiasA, WeightsB, BiasB, FoldedWeights, FoldedBias;
        public int Middle, PerOutput;
        public CudaElement Type;
        public int Padding;
    }
}
