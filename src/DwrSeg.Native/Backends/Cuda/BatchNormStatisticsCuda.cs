using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>The fp32 vectors of a batch norm in training.</summary>
/// <param name="Gamma">Its scale.</param>
/// <param name="Beta">Its shift.</param>
/// <param name="RunningMean">Moved towards the batch's.</param>
/// <param name="RunningVariance">Moved towards the batch's unbiased one.</param>
/// <param name="Mean">Result: the batch's mean.</param>
/// <param name="InverseDeviation">Result: 1/√(the batch's biased variance + epsilon).</param>
/// <param name="Scale">Result: what the input is multiplied by.</param>
/// <param name="Shift">Result: what is added then.</param>
internal readonly record struct CudaBatchNorm(
    CUdeviceptr Gamma, CUdeviceptr Beta, CUdeviceptr RunningMean, CUdeviceptr RunningVariance, CUdeviceptr Mean, CUdeviceptr InverseDeviation,
    CUdeviceptr Scale, CUdeviceptr Shift);

/// <summary>Launches <c>batch_norm_statistics.cu</c>: a batch's statistics, and the affine map that normalises with them.</summary>
internal static class BatchNormStatisticsCuda
{
    private const int Threads = 256, BlocksPerMultiprocessor = 4;

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants => TrainingMaps.Widths.Select(Variant);

    /// <summary>What memory for shared sums a launch would like.</summary>
    public static (long PartialBytes, int Tiles) WorkspaceFor(CudaDevice device, in DeviceMap x) =>
        ReductionFor(device, x, SplitWorkspace.Unlimited).Need;

    /// <summary>Settles a launch that reads x and writes the results of <paramref name="norm"/>.</summary>
    /// <exception cref="ArgumentException">x is not an fp32 map, or a vector is missing.</exception>
    public static CudaLaunch Prepare(
        KernelCache kernels, in DeviceMap x, in CudaBatchNorm norm, float epsilon, float momentum, in SplitWorkspace workspace)
    {
        TrainingMaps.Validate("batch_norm_statistics, x", x);
        TrainingMaps.ValidateVectors(
            "batch_norm_statistics", norm.Gamma, norm.Beta, norm.RunningMean, norm.RunningVariance, norm.Mean, norm.InverseDeviation, norm.Scale,
            norm.Shift);
        ChannelReduction reduction = ReductionFor(kernels.Context.Device, x, workspace);
        Arguments arguments = new()
        {
            Reduction = reduction.ToArguments(), X = x.Data, Norm = norm, XStride = x.PixelStride, Epsilon = epsilon, Momentum = momentum,
        };
        return new CudaLaunch<Arguments>(kernels, Variant(reduction.Parts.Width), reduction.Parts.Blocks, Threads, 0, arguments)
        {
            Bytes = x.Bytes + 40L * x.C,
            Flops = 6 * x.Elements,
        };
    }

    // The pixels' number, and of each channel two moments.
    private static ChannelReduction ReductionFor(CudaDevice device, in DeviceMap x, in SplitWorkspace workspace)
    {
        int width = ChannelParts.WidthFor(x);
        ChannelParts parts = ChannelParts.For(device, x, width, Threads, BlocksPerMultiprocessor);
        return new ChannelReduction(parts, 1 + 2 * width, workspace).Fitted();
    }

    private static KernelVariant Variant(int width) => KernelVariant.Of("batch_norm_statistics", $"WIDTH={width}");

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public ChannelReductionArguments Reduction;
        public CUdeviceptr X;
        public CudaBatchNorm Norm;
        public int XStride;
        public float Epsilon, Momentum;
        public int Padding;
    }
}
