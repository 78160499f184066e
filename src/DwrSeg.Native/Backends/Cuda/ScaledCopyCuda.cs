using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Launches <c>scaled_copy.cu</c>: a slice copied with a factor, optionally an affine map per channel, and a change of type.</summary>
internal static class ScaledCopyCuda
{
    private const int PixelsOfAThread = 4, BlocksPerMultiprocessor = 8;

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants =>
        from source in Enum.GetValues<CudaElement>()
        from target in Enum.GetValues<CudaElement>()
        from width in new[] { Math.Min(source.PerVector(), target.PerVector()), 1 }
        select Variant(source, target, width);

    /// <summary>y = factor·x, or (factor·x)·scale + shift with fp32 vectors of y's channels; 0 for none. y may be x.</summary>
    /// <exception cref="ArgumentException">x and y differ in size, or only one vector is given.</exception>
    public static CudaLaunch Prepare(
        KernelCache kernels, in DeviceMap x, in DeviceMap y, float factor = 1, CUdeviceptr scale = default, CUdeviceptr shift = default)
    {
        x.Validate("scaled_copy, x");
        y.Validate("scaled_copy, y");
        if ((x.N, x.H, x.W, x.C) != (y.N, y.H, y.W, y.C)) throw new ArgumentException($"scaled_copy: {x} and {y} differ in size.");
        AffineVectors.Validate("scaled_copy", scale, shift);
        ChannelBlock block = ChannelBlock.For(x, y);
        if (!AffineVectors.AreAligned(scale, shift)) block = ChannelBlock.For(y.C, 1);
        Arguments arguments = new()
        {
            X = x.Data, Y = y.Data, Scale = scale, Shift = shift, Pixels = x.Pixels,
            XStride = x.PixelStride, YStride = y.PixelStride, Channels = y.C, Factor = factor,
        };
        long blocks = Grid.Blocks(x.Pixels, block.Pixels * PixelsOfAThread);
        blocks = Math.Min(blocks, BlocksPerMultiprocessor * kernels.Context.Device.MultiprocessorCount);
        return new CudaLaunch<Arguments>(kernels, Variant(x.Element, y.Element, block.Width), new Grid(blocks), block.Dim, 0, arguments)
        {
            Bytes = x.Bytes + y.Bytes + (scale.Value == 0 ? 0 : 8L * y.C),
            Flops = (scale.Value == 0 ? 1 : 3) * y.Elements,
        };
    }

    private static KernelVariant Variant(CudaElement source, CudaElement target, int width) =>
        KernelVariant.Of("scaled_copy", $"SOURCE={source.KernelName()} TARGET={target.KernelName()} WIDTH={width}", source, target);

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr X, Y, Scale, Shift;
        public long Pixels;
        public int XStride, YStride, Channels;
        public float Factor;
    }
}
