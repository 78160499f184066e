using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>How a launch cuts a map for the threads of <c>channel_parts.cuh</c>: chunks of the pixels, groups of channels.</summary>
/// <param name="Pixels">Of the map.</param>
/// <param name="Channels">Of the map.</param>
/// <param name="Width">Channels of a thread.</param>
/// <param name="Threads">Of a block.</param>
/// <param name="ChunkPixels">Pixels of a block.</param>
internal readonly record struct ChannelParts(long Pixels, int Channels, int Width, int Threads, long ChunkPixels)
{
    private const int MostChannels = 32, PixelsOfAThread = 4;

    /// <summary>For about so many blocks on a multiprocessor, in chunks that give each thread something to do.</summary>
    public static ChannelParts For(CudaDevice device, in DeviceMap map, int width, int threads, int blocksPerMultiprocessor)
    {
        ChannelParts whole = new(map.Pixels, map.C, width, threads, map.Pixels);
        return whole.Cut(Math.Max(blocksPerMultiprocessor * device.MultiprocessorCount / whole.Groups, 1));
    }

    /// <summary>16 bytes of fp32 where every view has whole ones, else one channel.</summary>
    public static int WidthFor(params ReadOnlySpan<DeviceMap> maps)
    {
        foreach (DeviceMap map in maps)
        {
            if (!map.IsVector) return 1;
        }
        return CudaElement.Float32.PerVector();
    }

    /// <summary>
    /// Neighbouring threads over a pixel's channels: a power of two, of 128 bytes at most. These are whole lines; more would leave fewer rows to go
    /// over the chunks' sums in the end, and more chunks of fewer groups.
    /// </summary>
    public int Lanes
    {
        get
        {
            int vectors = (Channels + Width - 1) / Width, lanes = 1;
            while (lanes < vectors && lanes * Width < MostChannels) lanes *= 2;
            return lanes;
        }
    }

    public int Groups => (int)Grid.Blocks(Channels, (long)Lanes * Width);

    public long Chunks => Grid.Blocks(Pixels, ChunkPixels);

    /// <summary>The launch's blocks.</summary>
    public Grid Blocks => new(Chunks, Groups);

    /// <summary>Pixels that a thread's next one lies further on.</summary>
    public int Rows => Threads / Lanes;

    /// <summary>The same in at most so many chunks.</summary>
    public ChannelParts Cut(long mostChunks)
    {
        long pixels = Math.Max(Grid.Blocks(Pixels, mostChunks), (long)Rows * PixelsOfAThread);
        return this with { ChunkPixels = Grid.Blocks(pixels, Rows) * Rows };
    }

    public ChannelPartsArguments ToArguments() => new() { Pixels = Pixels, ChunkPixels = ChunkPixels, Channels = Channels, Lanes = Lanes };
}

/// <summary>Such a cut whose blocks add up what they found, where there is more than one chunk in a workspace.</summary>
/// <param name="Parts">The cut.</param>
/// <param name="Values">fp32 numbers that a thread makes.</param>
/// <param name="Workspace">Where chunks meet.</param>
internal readonly record struct ChannelReduction(ChannelParts Parts, int Values, SplitWorkspace Workspace)
{
    /// <summary>The same in no more chunks than its workspace holds; without memory there is one.</summary>
    public ChannelReduction Fitted()
    {
        if (Workspace.Holds(Need)) return this;
        bool hasCounters = Parts.Groups <= Workspace.Tiles;
        return this with { Parts = Parts.Cut(hasCounters ? Math.Max(Workspace.PartialBytes / ChunkBytes, 1) : 1) };
    }

    /// <summary>The memory and counters that its chunks take.</summary>
    public (long PartialBytes, int Tiles) Need => Parts.Chunks == 1 ? default : (Parts.Chunks * ChunkBytes, Parts.Groups);

    // Of all groups.
    private long ChunkBytes => (long)Parts.Groups * Parts.Lanes * Values * sizeof(float);

    public ChannelReductionArguments ToArguments() =>
        new() { Parts = Parts.ToArguments(), Partials = Workspace.Partials, Arrivals = Workspace.Arrivals };
}

/// <summary>The kernels' view of <see cref="ChannelParts"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ChannelPartsArguments
{
    public long Pixels, ChunkPixels;
    public int Channels, Lanes;
}

/// <summary>The kernels' view of <see cref="ChannelReduction"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ChannelReductionArguments
{
    public ChannelPartsArguments Parts;
    public CUdeviceptr Partials, Arrivals;
}
