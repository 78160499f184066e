using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Launches <c>max_pool.cu</c>: the 3x3 maximum of stride 2 and padding 1.</summary>
internal static class MaxPoolCuda
{
    private const int Rows = 4;

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants =>
        from element in Enum.GetValues<CudaElement>() from width in new[] { element.PerVector(), 1 } select Variant(element, width);

    /// <summary>Settles a launch.</summary>
    /// <exception cref="ArgumentException">y is not (N, ⌈H/2⌉, ⌈W/2⌉, C) of x's type.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, in DeviceMap x, in DeviceMap y)
    {
        x.Validate("max_pool, x");
        y.Validate("max_pool, y");
        if ((y.N, y.H, y.W, y.C, y.Element) != (x.N, (x.H + 1) / 2, (x.W + 1) / 2, x.C, x.Element))
            throw new ArgumentException($"max_pool: {x} does not pool to {y}.");
        ChannelBlock block = ChannelBlock.For(x, y);
        Arguments arguments = new()
        {
            X = x.Data, Y = y.Data, XStride = x.PixelStride, YStride = y.PixelStride, Height = x.H, Width = x.W, Channels = x.C,
        };
        var grid = new Grid(Grid.Blocks(y.W, block.Pixels), Grid.Blocks(y.H, Rows), y.N);
        return new CudaLaunch<Arguments>(kernels, Variant(x.Element, block.Width), grid, block.Dim, 0, arguments) { Bytes = x.Bytes + y.Bytes };
    }

    private static KernelVariant Variant(CudaElement element, int width) =>
        KernelVariant.Of("max_pool", $"ELEMENT={element.KernelName()} WIDTH={width}", element);

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr X, Y;
        public int XStride, YStride, Height, Width, Channels;
    }
}
