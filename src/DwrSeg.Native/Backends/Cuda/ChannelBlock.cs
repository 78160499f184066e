using DwrSeg.Native.Cuda;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// The block of kernels that work on pixels independently: lanes in x go over a pixel's channels (<see cref="Width"/> at once), in y over
/// neighbouring pixels, so that a warp's accesses are consecutive where pixels are.
/// </summary>
internal readonly record struct ChannelBlock(int Width, int Lanes, int Pixels)
{
    private const int Threads = 256, MostLanes = 64;

    /// <summary>For these channels, moved 16 bytes at a time or one by one.</summary>
    public static ChannelBlock For(int channels, int width)
    {
        int lanes = Math.Min(channels / width, MostLanes);
        return new ChannelBlock(width, lanes, Threads / lanes);
    }

    /// <summary>For two views of the same channels.</summary>
    public static ChannelBlock For(in DeviceMap x, in DeviceMap y)
    {
        int width = Math.Min(x.Element.PerVector(), y.Element.PerVector());
        return For(y.C, IsAligned(x, width) && IsAligned(y, width) ? width : 1);
    }

    /// <summary>For three views of the same channels.</summary>
    public static ChannelBlock For(in DeviceMap a, in DeviceMap b, in DeviceMap y) => For(y.C, Math.Min(For(a, y).Width, For(b, y).Width));

    public Dim3 Dim => (Lanes, Pixels);

    private static bool IsAligned(in DeviceMap map, int width) =>
        map.Data.Value % (ulong)(width * map.Element.Bytes()) == 0 && map.PixelStride % width == 0 && map.C % width == 0;
}
