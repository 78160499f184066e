using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Launches <c>max_pool_gradient.cu</c>: the gradient of the 3x3 maximum of stride 2 and padding 1.</summary>
internal static class MaxPoolGradientCuda
{
    private const int Rows = 4;

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants => from v in TrainingMaps.WidthsAndAccumulate select Variant(v.Width, v.Accumulate);

    /// <summary>Each window's dy goes to its first maximum in x, or to its last NaN; written or added to dx.</summary>
    /// <exception cref="ArgumentException">dy is not (N, ⌈H/2⌉, ⌈W/2⌉, C), dx is not of x's size, or one is not fp32.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, in DeviceMap x, in DeviceMap dy, in DeviceMap dx, bool accumulate)
    {
        TrainingMaps.Validate("max_pool_gradient, x", x);
        TrainingMaps.Validate("max_pool_gradient, dy", dy);
        TrainingMaps.Validate("max_pool_gradient, dx", dx);
        TrainingMaps.RequireSame("max_pool_gradient, dx", dx, x);
        if ((dy.N, dy.H, dy.W, dy.C) != (x.N, (x.H + 1) / 2, (x.W + 1) / 2, x.C))
            throw new ArgumentException($"max_pool_gradient: {x} does not pool to {dy}.");
        ChannelBlock block = ChannelBlock.For(x, dy, dx);
        Arguments arguments = new()
        {
            X = x.Data, Dy = dy.Data, Dx = dx.Data, XStride = x.PixelStride, DyStride = dy.PixelStride, DxStride = dx.PixelStride,
            Height = x.H, Width = x.W, Channels = x.C,
        };
        var grid = new Grid(Grid.Blocks(dy.W, block.Pixels), Grid.Blocks(dy.H, Rows), x.N);
        return new CudaLaunch<Arguments>(kernels, Variant(block.Width, accumulate), grid, block.Dim, 0, arguments)
        {
            Bytes = x.Bytes + dy.Bytes + (accumulate ? 2 : 1) * dx.Bytes,
            Flops = dy.Elements + (accumulate ? dx.Elements : 0),
        };
    }

    private static KernelVariant Variant(int width, bool accumulate) =>
        KernelVariant.Of("max_pool_gradient", TrainingMaps.Definitions(width, accumulate));

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr X, Dy, Dx;
        public int XStride, DyStride, DxStride, Height, Width, Channels;
    }
}
