using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// Launches <c>depthwise_weight_gradient.cu</c> and <c>depthwise_data_gradient.cu</c>: the gradients of a dilated depth-wise 3x3 convolution by its
/// weights and by its input.
/// </summary>
internal static class DepthwiseGradientCuda
{
    private const int Taps = 9, WeightThreads = 256, WeightBlocksPerMultiprocessor = 2, DataThreads = 128, DataBlocksPerMultiprocessor = 8;

    private static readonly bool[] Choices = [true, false];

    // Channels of the output's gradient that a thread takes, of such a multiplier; 0 for any.
    private static readonly (int Width, int Multiplier)[] Shapes = [(4, 1), (4, 2), (1, 0)];

    /// <summary>All variants that the launchers can choose.</summary>
    public static IEnumerable<KernelVariant> Variants =>
        [.. Shapes.Select(WeightVariant), .. from shape in Shapes from accumulate in Choices select DataVariant(shape, accumulate)];

    /// <summary>What memory for shared sums the gradient by the weights would like.</summary>
    public static (long PartialBytes, int Tiles) WorkspaceFor(CudaDevice device, in DeviceMap x, in DeviceMap dy) =>
        ReductionFor(device, dy, ShapeFor(x, dy), SplitWorkspace.Unlimited).Need;

    /// <summary>dw = the gradient by the weights, [9][channels of dy], or with <paramref name="accumulate"/> that added to dw.</summary>
    /// <exception cref="ArgumentException">The maps are not fp32 ones that fit each other.</exception>
    public static CudaLaunch PrepareWeights(
        KernelCache kernels, in DeviceMap x, in DeviceMap dy, CUdeviceptr dw, int dilation, bool accumulate, in SplitWorkspace workspace)
    {
        int multiplier = MultiplierOf("depthwise_weight_gradient", x, dy, dw, dilation);
        (int Width, int Multiplier) shape = ShapeFor(x, dy);
        ChannelReduction reduction = ReductionFor(kernels.Context.Device, dy, shape, workspace);
        WeightArguments arguments = new()
        {
            Reduction = reduction.ToArguments(), Shape = new TapShape(dy, dilation, reduction.Parts.Rows), Multiplier = multiplier,
            X = x.Data, Dy = dy.Data, Dw = dw, XStride = x.PixelStride, DyStride = dy.PixelStride, Accumulate = accumulate ? 1 : 0,
        };
        return new CudaLaunch<WeightArguments>(kernels, WeightVariant(shape), reduction.Parts.Blocks, WeightThreads, 0, arguments)
        {
            Bytes = x.Bytes + dy.Bytes + (accumulate ? 2L : 1L) * Taps * sizeof(float) * dy.C,
            Flops = 2 * Taps * dy.Elements,
        };
    }

    /// <summary>dx = the gradient by the input, or with <paramref name="accumulate"/> that added to dx.</summary>
    /// <exception cref="ArgumentException">The maps are not fp32 ones that fit each other.</exception>
    public static CudaLaunch PrepareData(KernelCache kernels, CUdeviceptr weights, in DeviceMap dy, in DeviceMap dx, int dilation, bool accumulate)
    {
        int multiplier = MultiplierOf("depthwise_data_gradient", dx, dy, weights, dilation);
        (int Width, int Multiplier) shape = ShapeFor(dx, dy);
        ChannelParts parts = ChannelParts.For(
            kernels.Context.Device, dx, shape.Width / Math.Max(shape.Multiplier, 1), DataThreads, DataBlocksPerMultiprocessor);
        DataArguments arguments = new()
        {
            Parts = parts.ToArguments(), Shape = new TapShape(dy, dilation, parts.Rows), Multiplier = multiplier,
            Weights = weights, Dy = dy.Data, Dx = dx.Data, DyStride = dy.PixelStride, DxStride = dx.PixelStride,
        };
        return new CudaLaunch<DataArguments>(kernels, DataVariant(shape, accumulate), parts.Blocks, DataThreads, 0, arguments)
        {
            Bytes = dy.Bytes + (accumulate ? 2 : 1) * dx.Bytes + (long)Taps * sizeof(float) * dy.C,
            Flops = 2 * Taps * dy.Elements,
        };
    }

    private static int MultiplierOf(string kernel, in DeviceMap narrow, in DeviceMap dy, CUdeviceptr weights, int dilation)
    {
        TrainingMaps.Validate($"{kernel}, input side", narrow);
        TrainingMaps.Validate($"{kernel}, dy", dy);
        TrainingMaps.ValidateVectors(kernel, weights);
        int multiplier = dy.C / narrow.C;
        if (multiplier < 1 || dilation < 1) throw new ArgumentException($"{kernel}: dilation {dilation} and {dy.C} channels of {narrow.C}.");
        TrainingMaps.RequireSame(kernel, narrow, dy, multiplier);
        return multiplier;
    }

    private static (int Width, int Multiplier) ShapeFor(in DeviceMap narrow, in DeviceMap dy)
    {
        int multiplier = dy.C / narrow.C;
        return multiplier <= 2 && ChannelParts.WidthFor(narrow, dy) > 1 ? (CudaElement.Float32.PerVector(), multiplier) : (1, 0);
    }

    private static ChannelReduction ReductionFor(CudaDevice device, in DeviceMap dy, (int Width, int) shape, in SplitWorkspace workspace)
    {
        ChannelParts parts = ChannelParts.For(device, dy, shape.Width, WeightThreads, WeightBlocksPerMultiprocessor);
        return new ChannelReduction(parts, Taps * shape.Width, workspace).Fitted();
    }

    private static KernelVariant WeightVariant((int Width, int Multiplier) shape) =>
        KernelVariant.Of("depthwise_weight_gradient", $"WIDTH={shape.Width} MULTIPLIER={shape.Multiplier}");

    private static KernelVariant DataVariant((int Width, int Multiplier) shape, bool accumulate) => KernelVariant.Of(
        "depthwise_data_gradient",
        $"WIDTH={shape.Width / Math.Max(shape.Multiplier, 1)} MULTIPLIER={shape.Multiplier} ACCUMULATE={(accumulate ? 1 : 0)}");

    [StructLayout(LayoutKind.Sequential)]
    private readonly struct TapShape(in DeviceMap map, int dilation, int rows)
    {
        public readonly int Height = map.H, Width = map.W;

        // From the map's longer side on, only the middle tap is inside; the kernel's offsets stay within 64 bits.
        public readonly int Dilation = Math.Min(dilation, Math.Max(map.H, map.W));

        public readonly int RowStep = rows / map.W % map.H, ColumnStep = rows % map.W;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct WeightArguments
    {
        public ChannelReductionArguments Reduction;
        public TapShape Shape;
        public int Multiplier;
        public CUdeviceptr X, Dy, Dw;
        public int XStride, DyStride, Accumulate, Padding;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct DataArguments
    {
        public ChannelPartsArguments Parts;
        public TapShape Shape;
        public int Multiplier;
        public CUdeviceptr Weights, Dy, Dx;
        public int DyStride, DxStride;
    }
}
