using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Launches <c>upsample.cu</c>: bilinear resampling with half-pixel centres, and optionally an affine map per channel.</summary>
internal static class UpsampleCuda
{
    private const int Rows = 4;

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants =>
        from element in Enum.GetValues<CudaElement>() from width in new[] { element.PerVector(), 1 } select Variant(element, width);

    /// <summary>y = resampled x, or resampled x·scale + shift with fp32 vectors of y's channels; 0 for none.</summary>
    /// <exception cref="ArgumentException">x and y differ in more than height and width, or only one vector is given.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, in DeviceMap x, in DeviceMap y, CUdeviceptr scale = default, CUdeviceptr shift = default)
    {
        x.Validate("upsample, x");
        y.Validate("upsample, y");
        if ((x.N, x.C, x.Element) != (y.N, y.C, y.Element)) throw new ArgumentException($"upsample: {x} does not resize to {y}.");
        AffineVectors.Validate("upsample", scale, shift);
        ChannelBlock block = ChannelBlock.For(x, y);
        if (!AffineVectors.AreAligned(scale, shift)) block = ChannelBlock.For(y.C, 1);
        Arguments arguments = new()
        {
            X = x.Data, Y = y.Data, Scale = scale, Shift = shift, XStride = x.PixelStride, YStride = y.PixelStride,
            FromHeight = x.H, FromWidth = x.W, Height = y.H, Width = y.W, Channels = y.C,
            RowScale = (float)x.H / y.H, ColumnScale = (float)x.W / y.W,
        };
        var grid = new Grid(Grid.Blocks(y.W, block.Pixels), Grid.Blocks(y.H, Rows), y.N);
        return new CudaLaunch<Arguments>(kernels, Variant(y.Element, block.Width), grid, block.Dim, 0, arguments)
        {
            Bytes = x.Bytes + y.Bytes + (scale.Value == 0 ? 0 : 8L * y.C),
            Flops = (scale.Value == 0 ? 6 : 8) * y.Elements,
        };
    }

    private static KernelVariant Variant(CudaElement element, int width) =>
        KernelVariant.Of("upsample", $"ELEMENT={element.KernelName()} WIDTH={width}", element);

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr X, Y, Scale, Shift;
        public int XStride, YStride, FromHeight, FromWidth, Height, Width, Channels;
        public float RowScale, ColumnScale;
    }
}
