using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Cuda.Libraries;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// A dense convolution as cuDNN and cuBLASLt take it: y = [relu](conv(x) + added + bias), zero padding kernel / 2, sums in fp32. Maps, weights
/// and bias are of one type.
/// </summary>
/// <param name="X">The input.</param>
/// <param name="Y">The output; must not overlap <paramref name="X"/>.</param>
/// <param name="Weights">(outputs, kernel, kernel, inputs) without gaps, on 16 bytes.</param>
/// <param name="Kernel">1 or 3.</param>
/// <param name="Stride">1 or 2.</param>
internal readonly record struct LibraryConvolution(DeviceMap X, DeviceMap Y, CUdeviceptr Weights, int Kernel, int Stride = 1)
{
    /// <summary>[outputs], on 16 bytes; 0 for none.</summary>
    public CUdeviceptr Bias { get; init; }

    /// <summary>A map of the output's size to add before the ReLU; may be the output itself, which then accumulates.</summary>
    public DeviceMap? Added { get; init; }

    /// <summary>On the sum of everything.</summary>
    public bool Relu { get; init; }

    /// <summary>Whether pixels of a map have gaps between them.</summary>
    public bool HasSlices => X.PixelStride != X.C || Y.PixelStride != Y.C || (Added is { } added && added.PixelStride != added.C);

    public long Flops => 2 * Y.Elements * Kernel * Kernel * X.C;

    public long Bytes => X.Bytes + Y.Bytes + (Added?.Bytes ?? 0) + ((long)Kernel * Kernel * X.C + (Bias.Value == 0 ? 0 : 1)) * Y.C * X.Element.Bytes();

    /// <summary>
    /// Whether the libraries' order of sum and ReLU can give what a convolution of this project's kernels gives: a ReLU before the residual
    /// cannot be had, and a border bias, which is added like a residual, only without one.
    /// </summary>
    public static bool CanExpress(in CudaConvolution c) =>
        c.Residual is null ? Fits(c.X) && Fits(c.Y) : c.Relu != CudaRelu.First && !c.BorderBias && Fits(c.X) && Fits(c.Y) && Fits(c.Residual.Value);

    /// <summary>Whether two views have memory in common, as far as their ranges tell.</summary>
    public static bool Overlap(in DeviceMap a, in DeviceMap b) => a.Data.Value < b.Data.Value + Span(b) && b.Data.Value < a.Data.Value + Span(a);

    public CudnnDataType CudnnType => X.Element switch
    {
        CudaElement.Float32 => CudnnDataType.Float,
        CudaElement.Float16 => CudnnDataType.Half,
        _ => CudnnDataType.BFloat16,
    };

    public CublasLtDataType CublasLtType => X.Element switch
    {
        CudaElement.Float32 => CublasLtDataType.Float,
        CudaElement.Float16 => CublasLtDataType.Half,
        _ => CublasLtDataType.BFloat16,
    };

    public override string ToString() =>
        $"{Kernel}x{Kernel}{(Stride == 1 ? "" : $"/{Stride}")} {X.Element.KernelName()}, {X.N}x{X.H}x{X.W}x{X.C} to {Y.C}"
        + (X.PixelStride == X.C && Y.PixelStride == Y.C ? "" : $", pixel strides {X.PixelStride} and {Y.PixelStride}")
        + (Bias.Value == 0 ? "" : ", bias") + (Added is null ? "" : ", sum") + (Relu ? ", ReLU" : "");

    // Their strides are 32-bit.
    private static bool Fits(in DeviceMap map) => (long)map.H * map.W * map.PixelStride <= int.MaxValue;

    private static ulong Span(in DeviceMap map) => (ulong)(((map.Pixels - 1) * map.PixelStride + map.C) * map.Element.Bytes());
}
