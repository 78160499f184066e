using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>A map to be resampled to another's size; with <paramref name="X"/> and <paramref name="Y"/> of the same images and channels.</summary>
internal readonly record struct CudaResampling(DeviceMap X, DeviceMap Y)
{
    /// <summary>fp32, [channels]; 0 for none.</summary>
    public CUdeviceptr Scale { get; init; }

    /// <summary>fp32, [channels]; given where <see cref="Scale"/> is.</summary>
    public CUdeviceptr Shift { get; init; }
}

/// <summary>Launches <c>upsample.cu</c>: bilinear resampling with half-pixel centres, and optionally an affine map per channel.</summary>
internal static class UpsampleCuda
{
    /// <summary>Maps that one launch can resample.</summary>
    public const int MaxMaps = 4;

    private const int Rows = 4;

    /// <summary>All variants that a launch can be of.</summary>
    public static IEnumerable<KernelVariant> Variants =>
        from element in Enum.GetValues<CudaElement>() from width in new[] { element.PerVector(), 1 } select Variant(element, width);

    /// <summary>y = resampled x, or resampled x·scale + shift with fp32 vectors of y's channels; 0 for none.</summary>
    /// <exception cref="ArgumentException">x and y differ in more than height and width, or only one vector is given.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, in DeviceMap x, in DeviceMap y, CUdeviceptr scale = default, CUdeviceptr shift = default) =>
        Prepare(kernels, new CudaResampling(x, y) { Scale = scale, Shift = shift });

    /// <summary>Several at once, whose outputs have one size and one number of channels.</summary>
    /// <exception cref="ArgumentException">There are too many or none, they differ, or one is malformed.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, params ReadOnlySpan<CudaResampling> maps)
    {
        if (maps.Length is 0 or > MaxMaps) throw new ArgumentException($"upsample: takes 1 to {MaxMaps} maps, not {maps.Length}.");
        DeviceMap first = maps[0].Y;
        Arguments arguments = new() { Images = first.N, Height = first.H, Width = first.W, Channels = first.C };
        bool isVector = true;
        long bytes = 0, flops = 0;
        for (int i = 0; i < maps.Length; i++)
        {
            CudaResampling m = maps[i];
            m.X.Validate("upsample, x");
            m.Y.Validate("upsample, y");
            if ((m.X.N, m.X.C, m.X.Element) != (m.Y.N, m.Y.C, m.Y.Element)) throw new ArgumentException($"upsample: {m.X} does not resize to {m.Y}.");
            if ((m.Y.N, m.Y.H, m.Y.W, m.Y.C, m.Y.Element) != (first.N, first.H, first.W, first.C, first.Element))
                throw new ArgumentException($"upsample: {m.Y} and {first} differ: resample them in launches of their own.");
            AffineVectors.Validate("upsample", m.Scale, m.Shift);
            isVector &= ChannelBlock.For(m.X, m.Y).Width > 1 && AffineVectors.AreAligned(m.Scale, m.Shift);
            arguments.Maps[i] = new Resampling
            {
                X = m.X.Data, Y = m.Y.Data, Scale = m.Scale, Shift = m.Shift, XStride = m.X.PixelStride, YStride = m.Y.PixelStride,
                FromHeight = m.X.H, FromWidth = m.X.W, RowScale = (float)m.X.H / m.Y.H, ColumnScale = (float)m.X.W / m.Y.W,
            };
            bytes += m.X.Bytes + m.Y.Bytes + (m.Scale.Value == 0 ? 0 : 8L * m.Y.C);
            flops += (m.Scale.Value == 0 ? 6 : 8) * m.Y.Elements;
        }
        ChannelBlock block = ChannelBlock.For(first.C, isVector ? first.Element.PerVector() : 1);
        var grid = new Grid(Grid.Blocks(first.W, block.Pixels), Grid.Blocks(first.H, Rows), (long)first.N * maps.Length);
        return new CudaLaunch<Arguments>(kernels, Variant(first.Element, block.Width), grid, block.Dim, 0, arguments) { Bytes = bytes, Flops = flops };
    }

    private static KernelVariant Variant(CudaElement element, int width) =>
        KernelVariant.Of("upsample", $"ELEMENT={element.KernelName()} WIDTH={width}", element);

    [StructLayout(LayoutKind.Sequential)]
    private struct Resampling
    {
        public CUdeviceptr X, Y, Scale, Shift;
        public int XStride, YStride, FromHeight, FromWidth;
        public float RowScale, ColumnScale;
    }

    [InlineArray(MaxMaps)]
    private struct MapTable
    {
        private Resampling _first;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public MapTable Maps;
        public int Images, Height, Width, Channels;
    }
}
