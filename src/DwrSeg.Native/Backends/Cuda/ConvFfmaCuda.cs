using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Where a convolution's ReLU stands to its residual sum. The numbers are those of <c>conv_ffma.cu</c>.</summary>
internal enum ConvRelu
{
    None,
    BeforeResidual,
    AfterResidual,
}

/// <summary>A dense convolution with its epilogue.</summary>
/// <param name="X">The input slice.</param>
/// <param name="Y">The output slice.</param>
/// <param name="Weights">fp32, [channels of Y][Kernel²][channels of X].</param>
/// <param name="Bias">fp32, [channels of Y], or with <paramref name="HasBorderBias"/> [<see cref="Conv2d.BorderCases"/>][channels of Y]; 0 for none.</param>
/// <param name="HasBorderBias">Whether each output pixel takes the row of its place on the map.</param>
/// <param name="Residual">Added to the result; has Y's size and may be Y. Null for none.</param>
/// <param name="Relu">The ReLU.</param>
/// <param name="Kernel">1 or 3.</param>
/// <param name="Stride">1 or 2.</param>
internal readonly record struct CudaConvolution(
    DeviceMap X, DeviceMap Y, CUdeviceptr Weights, CUdeviceptr Bias, bool HasBorderBias, DeviceMap? Residual, ConvRelu Relu, int Kernel, int Stride);

/// <summary>Launches <c>conv_ffma.cu</c>: dense convolutions in exact fp32, for every type, size and architecture.</summary>
internal static class ConvFfmaCuda
{
    private const int Threads = 256, Block = 64, Width = 4;

    private static readonly int[] Widths = [Width, 1];

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants =>
        from element in Enum.GetValues<CudaElement>() from loads in Widths from stores in Widths select Variant(element, loads, stores);

    /// <summary>Settles a launch.</summary>
    /// <exception cref="ArgumentException">The views do not fit each other.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, in CudaConvolution conv)
    {
        (DeviceMap x, DeviceMap y) = (conv.X, conv.Y);
        Validate(conv);
        bool loads = IsVector(x) && conv.Weights.Value % CudaElements.VectorBytes == 0;
        bool stores = IsVector(y);
        Arguments arguments = new()
        {
            X = x.Data, Weights = conv.Weights, Bias = conv.Bias, Residual = conv.Residual?.Data ?? default, Y = y.Data, Pixels = y.Pixels,
            XStride = x.PixelStride, ResidualStride = conv.Residual?.PixelStride ?? 0, YStride = y.PixelStride,
            Height = x.H, Width = x.W, Inputs = x.C, OutHeight = y.H, OutWidth = y.W, Outputs = y.C,
            Kernel = conv.Kernel, Stride = conv.Stride, BorderBias = conv.HasBorderBias ? 1 : 0, Relu = conv.Relu,
        };
        long weights = (long)conv.Kernel * conv.Kernel * x.C * y.C, biasRows = conv.Bias.Value == 0 ? 0 : conv.HasBorderBias ? Conv2d.BorderCases : 1;
        return new CudaLaunch<Arguments>(
            kernels, Variant(y.Element, loads ? Width : 1, stores ? Width : 1),
            new Grid(Grid.Blocks(y.Pixels, Block), Grid.Blocks(y.C, Block)), Threads, 0, arguments)
        {
            Bytes = x.Bytes + y.Bytes + (conv.Residual?.Bytes ?? 0) + 4 * (weights + biasRows * y.C),
            Flops = 2 * weights * y.Pixels,
        };
    }

    private static bool IsVector(in DeviceMap map) =>
        map.C % Width == 0 && map.PixelStride % Width == 0 && map.Data.Value % (ulong)(Width * map.Element.Bytes()) == 0;

    private static KernelVariant Variant(CudaElement element, int loads, int stores) =>
        KernelVariant.Of("conv_ffma", $"ELEMENT={element.KernelName()} LOADS={loads} STORES={stores}", element);

    private static void Validate(in CudaConvolution conv)
    {
        (DeviceMap x, DeviceMap y) = (conv.X, conv.Y);
        x.Validate("conv_ffma, x");
        y.Validate("conv_ffma, y");
        conv.Residual?.Validate("conv_ffma, residual");
        if (conv.Kernel is not (1 or 3) || conv.Stride is not (1 or 2))
            throw new ArgumentException($"conv_ffma: kernel {conv.Kernel} with stride {conv.Stride} (1 or 3; 1 or 2).");
        int height = (x.H + conv.Stride - 1) / conv.Stride, width = (x.W + conv.Stride - 1) / conv.Stride;
        if ((y.N, y.H, y.W, y.Element) != (x.N, height, width, x.Element))
            throw new ArgumentException($"conv_ffma: {x} does not give {y} with stride {conv.Stride}.");
        if (conv.Residual is { } r && (r.N, r.H, r.W, r.C, r.Element) != (y.N, y.H, y.W, y.C, y.Element))
            throw new ArgumentException($"conv_ffma: residual {r} differs from {y}.");
        if (conv.Weights.Value == 0 || conv.Weights.Value % 4 != 0 || conv.Bias.Value % 4 != 0 || (conv.HasBorderBias && conv.Bias.Value == 0))
            throw new ArgumentException($"conv_ffma: weights at {conv.Weights} or bias at {conv.Bias} are not fp32 vectors.");
        if ((long)conv.Kernel * conv.Kernel * x.C > int.MaxValue / 2) throw new ArgumentException($"conv_ffma: {x.C} input channels are too many.");
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr X, Weights, Bias, Residual, Y;
        public long Pixels;
        public int XStride, ResidualStride, YStride, Height, Width, Inputs, OutHeight, OutWidth, Outputs, Kernel, Stride, BorderBias;
        public ConvRelu Relu;
        public int Padding;
    }
}
