using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Launches <c>fill.cu</c>: one value in every element of a slice.</summary>
internal static class FillCuda
{
    private const int BlocksPerMultiprocessor = 8;

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants => from width in TrainingMaps.Widths select Variant(width);

    /// <summary>y = value.</summary>
    /// <exception cref="ArgumentException">y is not fp32.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, float value, in DeviceMap y)
    {
        TrainingMaps.Validate("fill, y", y);
        ChannelBlock block = ChannelBlock.For(y, y);
        Arguments arguments = new() { Y = y.Data, Pixels = y.Pixels, YStride = y.PixelStride, Channels = y.C, Value = value };
        long blocks = Math.Min(Grid.Blocks(y.Pixels, block.Pixels), BlocksPerMultiprocessor * kernels.Context.Device.MultiprocessorCount);
        return new CudaLaunch<Arguments>(kernels, Variant(block.Width), new Grid(blocks), block.Dim, 0, arguments) { Bytes = y.Bytes };
    }

    private static KernelVariant Variant(int width) => KernelVariant.Of("fill", $"WIDTH={width}");

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr Y;
        public long Pixels;
        public int YStride, Channels;
        public float Value;
        public int Padding;
    }
}
