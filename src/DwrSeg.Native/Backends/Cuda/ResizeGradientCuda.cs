using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Launches <c>resize_gradient.cu</c>: the transpose of bilinear resampling with half-pixel centres.</summary>
internal static class ResizeGradientCuda
{
    private const int Rows = 2;

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants => from v in TrainingMaps.WidthsAndAccumulate select Variant(v.Width, v.Accumulate);

    /// <summary>dx = what of dy, of the size that dx was resampled to, goes back to each of its pixels; written or added.</summary>
    /// <exception cref="ArgumentException">dy and dx differ in more than height and width, or one is not fp32.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, in DeviceMap dy, in DeviceMap dx, bool accumulate)
    {
        TrainingMaps.Validate("resize_gradient, dy", dy);
        TrainingMaps.Validate("resize_gradient, dx", dx);
        if ((dy.N, dy.C) != (dx.N, dx.C)) throw new ArgumentException($"resize_gradient: {dx} does not resize to {dy}.");
        ChannelBlock block = ChannelBlock.For(dy, dx);
        Arguments arguments = new()
        {
            Dy = dy.Data, Dx = dx.Data, DyStride = dy.PixelStride, DxStride = dx.PixelStride, DyHeight = dy.H, DyWidth = dy.W,
            Height = dx.H, Width = dx.W, Channels = dx.C, RowScale = (float)dx.H / dy.H, ColumnScale = (float)dx.W / dy.W,
        };
        var grid = new Grid(Grid.Blocks(dx.W, block.Pixels), Grid.Blocks(dx.H, Rows), dx.N);
        return new CudaLaunch<Arguments>(kernels, Variant(block.Width, accumulate), grid, block.Dim, 0, arguments)
        {
            Bytes = dy.Bytes + (accumulate ? 2 : 1) * dx.Bytes,
            Flops = 6 * dy.Elements + (accumulate ? dx.Elements : 0),
        };
    }

    private static KernelVariant Variant(int width, bool accumulate) =>
        KernelVariant.Of("resize_gradient", TrainingMaps.Definitions(width, accumulate));

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr Dy, Dx;
        public int DyStride, DxStride, DyHeight, DyWidth, Height, Width, Channels;
        public float RowScale, ColumnScale;
        public int Padding;
    }
}
