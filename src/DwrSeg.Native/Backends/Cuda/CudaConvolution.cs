using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Where a convolution's ReLU stands. The numbers are those of <c>conv.cuh</c>.</summary>
internal enum CudaRelu
{
    None,

    /// <summary>On the convolution itself, before a residual is added.</summary>
    First,

    /// <summary>On the sum with the residual.</summary>
    Last,
}

/// <summary>
/// A dense convolution as the kernels take it: kernel 1 or 3, stride 1 or 2, zero padding kernel / 2,
/// y = [relu](residual + [relu](conv(x) + bias)). All maps are of one type.
/// </summary>
/// <param name="X">The input.</param>
/// <param name="Y">The output; must not overlap <paramref name="X"/>.</param>
/// <param name="Weights">Gives them as the kernel wants them; null where none is prepared.</param>
/// <param name="Kernel">1 or 3.</param>
/// <param name="Stride">1 or 2.</param>
internal readonly record struct CudaConvolution(DeviceMap X, DeviceMap Y, WeightPacking? Weights, int Kernel, int Stride = 1)
{
    private const int MostWeightBytes = 4;

    /// <summary>fp32, [outputs], or with <see cref="BorderBias"/> [16][outputs]; 0 for none.</summary>
    public CUdeviceptr Bias { get; init; }

    /// <summary>The bias depends on which taps lie inside the map (<see cref="Conv2d.BorderCases"/> rows).</summary>
    public bool BorderBias { get; init; }

    /// <summary>A map of the output's size to add; may be the output itself, which then accumulates.</summary>
    public DeviceMap? Residual { get; init; }

    public CudaRelu Relu { get; init; }

    public int Taps => Kernel * Kernel;

    /// <summary>Multiply-adds of real values, counted as two operations each.</summary>
    public long Flops => 2 * Y.Elements * Taps * X.C;

    /// <summary>Compulsory traffic: all maps, weights and biases once; of the input, a 1x1 kernel of stride 2 needs every fourth pixel.</summary>
    public long Bytes =>
        (Kernel == 1 ? Y.Pixels * X.C * X.Element.Bytes() : X.Bytes) + Y.Bytes + (Residual?.Bytes ?? 0) + (long)Y.C * Taps * X.C * X.Element.Bytes()
            + (Bias.Value == 0 ? 0 : (BorderBias ? Conv2d.BorderCases : 1) * 4L * Y.C);

    /// <summary>Checks sizes, types and addresses.</summary>
    /// <exception cref="ArgumentException">They do not make a convolution; the message names what is wrong.</exception>
    public void Validate(string name)
    {
        X.Validate($"{name}, x");
        Y.Validate($"{name}, y");
        if (Kernel is not (1 or 3) || Stride is not (1 or 2))
            throw new ArgumentException($"{name}: kernel {Kernel} with stride {Stride}; kernels are 1 or 3, strides 1 or 2.");
        if ((Y.N, Y.H, Y.W, Y.Element) != (X.N, (X.H + Stride - 1) / Stride, (X.W + Stride - 1) / Stride, X.Element))
            throw new ArgumentException($"{name}: stride {Stride} does not make {Y} of {X}.");
        if (Y.Pixels > int.MaxValue) throw new ArgumentException($"{name}: {Y} has more than 2^31 - 1 pixels: split the batch.");
        if ((long)Y.C * Taps * (X.C + 8) * MostWeightBytes > int.MaxValue) throw new ArgumentException($"{name}: {Y.C} outputs of {X.C} inputs are too many.");
        if (Bias.Value % 4 != 0) throw new ArgumentException($"{name}: the bias at {Bias} is not an fp32 vector.");
        if (BorderBias && (Bias.Value == 0 || Kernel != 3 || Stride != 1))
            throw new ArgumentException($"{name}: a border bias goes with a bias, a 3x3 kernel and stride 1.");
        if (Residual is not { } residual) return;
        residual.Validate($"{name}, residual");
        if ((residual.N, residual.H, residual.W, residual.C, residual.Element) != (Y.N, Y.H, Y.W, Y.C, Y.Element))
            throw new ArgumentException($"{name}: the residual {residual} does not fit y {Y}.");
    }

    /// <summary>The weights in a kernel's layout.</summary>
    /// <exception cref="ArgumentException">There are none, or not on 16 bytes.</exception>
    public CUdeviceptr WeightsIn(WeightLayout layout, string name)
    {
        CUdeviceptr weights = Weights?.Invoke(layout) ?? default;
        return weights.Value != 0 && weights.Value % 16 == 0 ? weights : throw new ArgumentException($"{name}: weights at {weights} are not on 16 bytes.");
    }

    /// <summary>The sizes as <c>conv.cuh</c> has them.</summary>
    public ConvShape Shape => new()
    {
        Height = X.H, Width = X.W, Inputs = X.C, XStride = X.PixelStride, OutHeight = Y.H, OutWidth = Y.W, Outputs = Y.C,
        Pixels = (int)Y.Pixels, Kernel = Kernel, Stride = Stride,
    };

    /// <summary>The epilogue as <c>conv.cuh</c> has it.</summary>
    public ConvEpilogue Epilogue => new()
    {
        Bias = Bias, Residual = Residual?.Data ?? default, Y = Y.Data, ResidualStride = Residual?.PixelStride ?? 0, YStride = Y.PixelStride,
        Relu = Relu, BorderCases = BorderBias ? 1 : 0,
        IsVector = Y.IsVector && (Residual?.IsVector ?? true) && Bias.Value % CudaElements.VectorBytes == 0 ? 1 : 0,
        IsPacked = !Y.IsVector && Y.PixelStride == Y.C && Y.Data.Value % CudaElements.VectorBytes == 0 && Residual is null
            && Relu == CudaRelu.None && !BorderBias ? 1 : 0,
    };
}

/// <summary><c>ConvShape</c> of <c>conv.cuh</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ConvShape
{
    public int Height, Width, Inputs, XStride, OutHeight, OutWidth, Outputs, Pixels, Kernel, Stride;
}

/// <summary><c>Epilogue</c> of <c>conv.cuh</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ConvEpilogue
{
    public CUdeviceptr Bias, Residual, Y;
    public int ResidualStride, YStride;
    public CudaRelu Relu;
    public int BorderCases, IsVector, IsPacked;
}

/// <summary>The argument struct that <c>conv_mma.cu</c> and <c>conv_ffma.cu</c> have in common.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ConvArguments
{
    public CUdeviceptr X, Weights;
    public ConvShape Shape;
    public ConvEpilogue Epilogue;
    public CUdeviceptr Partials, Arrivals;
    public int ChannelTiles, Splits;
}
