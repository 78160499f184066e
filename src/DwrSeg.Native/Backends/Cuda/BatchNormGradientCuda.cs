using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>The fp32 vectors of a batch norm's gradient.</summary>
/// <param name="Gamma">The norm's scale.</param>
/// <param name="Mean">The batch's mean.</param>
/// <param name="InverseDeviation">1/√(the batch's variance + epsilon).</param>
/// <param name="Dgamma">Result: the gradient by the scale.</param>
/// <param name="Dbeta">Result: the gradient by the shift.</param>
/// <param name="Coefficients">Scratch of <see cref="BatchNormGradientCuda.CoefficientBytes"/>, on 16 bytes.</param>
internal readonly record struct CudaBatchNormGradient(
    CUdeviceptr Gamma, CUdeviceptr Mean, CUdeviceptr InverseDeviation, CUdeviceptr Dgamma, CUdeviceptr Dbeta, CUdeviceptr Coefficients);

/// <summary>
/// Launches <c>batch_norm_sums.cu</c> (the gradients by scale and shift, and coefficients) and <c>batch_norm_gradient.cu</c> (the gradient by the
/// input, of these coefficients).
/// </summary>
internal static class BatchNormGradientCuda
{
    private const int Threads = 256, SumBlocksPerMultiprocessor = 4, DataBlocksPerMultiprocessor = 8, Rows = 4;

    /// <summary>All variants that the launchers can choose.</summary>
    public static IEnumerable<KernelVariant> Variants =>
        [.. TrainingMaps.Widths.Select(SumsVariant), .. TrainingMaps.WidthsAndAccumulate.Select(v => DataVariant(v.Width, v.Accumulate))];

    /// <summary>What memory for shared sums the sums would like.</summary>
    public static (long PartialBytes, int Tiles) WorkspaceFor(CudaDevice device, in DeviceMap x, in DeviceMap dy) =>
        ReductionFor(device, x, dy, SplitWorkspace.Unlimited).Need;

    /// <summary>What the coefficients of so many channels take.</summary>
    public static long CoefficientBytes(int channels) => (long)Rows * Pitch(channels) * sizeof(float);

    /// <summary>The gradients by scale and shift, and the coefficients.</summary>
    /// <exception cref="ArgumentException">The maps are not fp32 ones of one size, or a vector is missing.</exception>
    public static CudaLaunch PrepareSums(
        KernelCache kernels, in DeviceMap x, in DeviceMap dy, in CudaBatchNormGradient norm, in SplitWorkspace workspace)
    {
        const string Kernel = "batch_norm_sums";
        TrainingMaps.Validate($"{Kernel}, x", x);
        TrainingMaps.Validate($"{Kernel}, dy", dy);
        TrainingMaps.RequireSame(Kernel, x, dy);
        Validate(Kernel, norm);
        ChannelReduction reduction = ReductionFor(kernels.Context.Device, x, dy, workspace);
        SumsArguments arguments = new()
        {
            Reduction = reduction.ToArguments(), X = x.Data, Dy = dy.Data, Norm = norm, XStride = x.PixelStride, DyStride = dy.PixelStride,
            Pitch = Pitch(x.C),
        };
        return new CudaLaunch<SumsArguments>(kernels, SumsVariant(reduction.Parts.Width), reduction.Parts.Blocks, Threads, 0, arguments)
        {
            Bytes = x.Bytes + dy.Bytes + 36L * x.C,
            Flops = 4 * x.Elements,
        };
    }

    /// <summary>The gradient by the input, with <paramref name="accumulate"/> added to dx; behind the launch of the sums. dx may be dy.</summary>
    /// <exception cref="ArgumentException">The maps are not fp32 ones of one size, or a vector is missing.</exception>
    public static CudaLaunch PrepareData(
        KernelCache kernels, in DeviceMap x, in DeviceMap dy, in DeviceMap dx, in CudaBatchNormGradient norm, bool accumulate)
    {
        const string Kernel = "batch_norm_gradient";
        TrainingMaps.Validate($"{Kernel}, x", x);
        TrainingMaps.Validate($"{Kernel}, dy", dy);
        TrainingMaps.Validate($"{Kernel}, dx", dx);
        TrainingMaps.RequireSame(Kernel, x, dy);
        TrainingMaps.RequireSame(Kernel, x, dx);
        Validate(Kernel, norm);
        ChannelBlock block = ChannelBlock.For(dx.C, ChannelParts.WidthFor(x, dy, dx));
        DataArguments arguments = new()
        {
            X = x.Data, Dy = dy.Data, Dx = dx.Data, Coefficients = norm.Coefficients, Pixels = dx.Pixels, XStride = x.PixelStride,
            DyStride = dy.PixelStride, DxStride = dx.PixelStride, Channels = dx.C, Pitch = Pitch(dx.C),
        };
        long blocks = Math.Min(Grid.Blocks(dx.Pixels, block.Pixels), DataBlocksPerMultiprocessor * kernels.Context.Device.MultiprocessorCount);
        return new CudaLaunch<DataArguments>(kernels, DataVariant(block.Width, accumulate), new Grid(blocks), block.Dim, 0, arguments)
        {
            Bytes = x.Bytes + dy.Bytes + (accumulate ? 2 : 1) * dx.Bytes + CoefficientBytes(dx.C),
            Flops = 5 * dx.Elements,
        };
    }

    private static void Validate(string kernel, in CudaBatchNormGradient norm)
    {
        TrainingMaps.ValidateVectors(kernel, norm.Gamma, norm.Mean, norm.InverseDeviation, norm.Dgamma, norm.Dbeta, norm.Coefficients);
        if (norm.Coefficients.Value % CudaElements.VectorBytes != 0)
            throw new ArgumentException($"{kernel}: coefficients at {norm.Coefficients} are not on 16 bytes.");
    }

    // Sums of dy and of its products, for each channel.
    private static ChannelReduction ReductionFor(CudaDevice device, in DeviceMap x, in DeviceMap dy, in SplitWorkspace workspace)
    {
        int width = ChannelParts.WidthFor(x, dy);
        ChannelParts parts = ChannelParts.For(device, x, width, Threads, SumBlocksPerMultiprocessor);
        return new ChannelReduction(parts, 2 * width, workspace).Fitted();
    }

    // Rows of whole vectors.
    private static int Pitch(int channels)
    {
        int vector = CudaElement.Float32.PerVector();
        return (channels + vector - 1) / vector * vector;
    }

    private static KernelVariant SumsVariant(int width) => KernelVariant.Of("batch_norm_sums", $"WIDTH={width}");

    private static KernelVariant DataVariant(int width, bool accumulate) =>
        KernelVariant.Of("batch_norm_gradient", TrainingMaps.Definitions(width, accumulate));

    [StructLayout(LayoutKind.Sequential)]
    private struct SumsArguments
    {
        public ChannelReductionArguments Reduction;
        public CUdeviceptr X, Dy;
        public CudaBatchNormGradient Norm;
        public int XStride, DyStride, Pitch, Padding;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct DataArguments
    {
        public CUdeviceptr X, Dy, Dx, Coefficients;
        public long Pixels;
        public int XStride, DyStride, DxStride, Channels, Pitch, Padding;
    }
}
