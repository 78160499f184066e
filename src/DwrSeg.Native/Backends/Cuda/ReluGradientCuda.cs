using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Launches <c>relu_gradient.cu</c>: the gradient of a ReLU from its output.</summary>
internal static class ReluGradientCuda
{
    private const int BlocksPerMultiprocessor = 8;

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants => from v in TrainingMaps.WidthsAndAccumulate select Variant(v.Width, v.Accumulate);

    /// <summary>dx = dy where y is not ≤ 0, else 0; written or added. dx may be dy.</summary>
    /// <exception cref="ArgumentException">The maps differ in size or are not fp32.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, in DeviceMap y, in DeviceMap dy, in DeviceMap dx, bool accumulate)
    {
        TrainingMaps.Validate("relu_gradient, y", y);
        TrainingMaps.Validate("relu_gradient, dy", dy);
        TrainingMaps.Validate("relu_gradient, dx", dx);
        TrainingMaps.RequireSame("relu_gradient, y", y, dx);
        TrainingMaps.RequireSame("relu_gradient, dy", dy, dx);
        ChannelBlock block = ChannelBlock.For(y, dy, dx);
        Arguments arguments = new()
        {
            Y = y.Data, Dy = dy.Data, Dx = dx.Data, Pixels = dx.Pixels,
            YStride = y.PixelStride, DyStride = dy.PixelStride, DxStride = dx.PixelStride, Channels = dx.C,
        };
        long blocks = Math.Min(Grid.Blocks(dx.Pixels, block.Pixels), BlocksPerMultiprocessor * kernels.Context.Device.MultiprocessorCount);
        return new CudaLaunch<Arguments>(kernels, Variant(block.Width, accumulate), new Grid(blocks), block.Dim, 0, arguments)
        {
            Bytes = y.Bytes + dy.Bytes + (accumulate ? 2 : 1) * dx.Bytes,
            Flops = accumulate ? dx.Elements : 0,
        };
    }

    private static KernelVariant Variant(int width, bool accumulate) =>
        KernelVariant.Of("relu_gradient", TrainingMaps.Definitions(width, accumulate));

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr Y, Dy, Dx;
        public long Pixels;
        public int YStride, DyStride, DxStride, Channels;
    }
}
