using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Where a convolution's ReLU stands to its residual sum. The numbers are those of <c>conv_ffma.cu</c> and <c>conv_mma.cu</c>.</summary>
internal enum ConvRelu
{
    None,
    BeforeResidual,
    AfterResidual,
}

/// <summary>A dense convolution with its epilogue.</summary>
/// <param name="X">The input slice.</param>
/// <param name="Y">The output slice.</param>
/// <param name="Weights">In the type that the kernel takes, [channels of Y][Kernel²][channels of X].</param>
/// <param name="Bias">fp32, [channels of Y], or with <paramref name="HasBorderBias"/> [<see cref="Conv2d.BorderCases"/>][channels of Y]; 0 for none.</param>
/// <param name="HasBorderBias">Whether each output pixel takes the row of its place on the map.</param>
/// <param name="Residual">Added to the result; has Y's size and may be Y. Null for none.</param>
/// <param name="Relu">The ReLU.</param>
/// <param name="Kernel">1 or 3.</param>
/// <param name="Stride">1 or 2.</param>
internal readonly record struct CudaConvolution(
    DeviceMap X, DeviceMap Y, CUdeviceptr Weights, CUdeviceptr Bias, bool HasBorderBias, DeviceMap? Residual, ConvRelu Relu, int Kernel, int Stride)
{
    private long WeightCount => (long)Kernel * Kernel * X.C * Y.C;

    /// <summary>A multiply-add counts two.</summary>
    public long Flops => 2 * WeightCount / Y.C * Y.Elements;

    /// <summary>Compulsory traffic.</summary>
    public long Bytes(int weightBytes)
    {
        long biasRows = Bias.Value == 0 ? 0 : HasBorderBias ? Conv2d.BorderCases : 1;
        return X.Bytes + Y.Bytes + (Residual?.Bytes ?? 0) + weightBytes * WeightCount + 4 * biasRows * Y.C;
    }

    public ConvolutionArguments ToArguments() => new()
    {
        X = X.Data, Weights = Weights, Bias = Bias, Residual = Residual?.Data ?? default, Y = Y.Data, Pixels = Y.Pixels,
        XStride = X.PixelStride, ResidualStride = Residual?.PixelStride ?? 0, YStride = Y.PixelStride,
        Height = X.H, Width = X.W, Inputs = X.C, OutHeight = Y.H, OutWidth = Y.W, Outputs = Y.C,
        Kernel = Kernel, Stride = Stride, BorderBias = HasBorderBias ? 1 : 0, Relu = Relu,
    };

    /// <summary>Checks what every convolution kernel takes for granted.</summary>
    /// <exception cref="ArgumentException">The views do not fit each other; the message names the kernel.</exception>
    public void Validate(string kernel)
    {
        (DeviceMap x, DeviceMap y) = (X, Y);
        x.Validate($"{kernel}, x");
        y.Validate($"{kernel}, y");
        Residual?.Validate($"{kernel}, residual");
        if (Kernel is not (1 or 3) || Stride is not (1 or 2))
            throw new ArgumentException($"{kernel}: kernel {Kernel} with stride {Stride} (1 or 3; 1 or 2).");
        int height = (x.H + Stride - 1) / Stride, width = (x.W + Stride - 1) / Stride;
        if ((y.N, y.H, y.W, y.Element) != (x.N, height, width, x.Element))
            throw new ArgumentException($"{kernel}: {x} does not give {y} with stride {Stride}.");
        if (Residual is { } r && (r.N, r.H, r.W, r.C, r.Element) != (y.N, y.H, y.W, y.C, y.Element))
            throw new ArgumentException($"{kernel}: residual {r} differs from {y}.");
        if (Weights.Value == 0 || Bias.Value % 4 != 0 || (HasBorderBias && Bias.Value == 0))
            throw new ArgumentException($"{kernel}: there are no weights, or the bias at {Bias} is no fp32 vector.");
        if ((long)Kernel * Kernel * x.C > int.MaxValue / 2) throw new ArgumentException($"{kernel}: {x.C} input channels are too many.");
    }
}

/// <summary>The arguments of <c>conv_ffma.cu</c> and <c>conv_mma.cu</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ConvolutionArguments
{
    public CUdeviceptr X, Weights, Bias, Residual, Y;
    public long Pixels;
    public int XStride, ResidualStride, YStride, Height, Width, Inputs, OutHeight, OutWidth, Outputs, Kernel, Stride, BorderBias;
    public ConvRelu Relu;
    public int Padding;
}
