using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Cuda;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>One branch of a launch of <c>depthwise_conv.cu</c>.</summary>
/// <param name="X">Its input slice.</param>
/// <param name="Y">Its output slice, of <c>Multiplier</c> times the channels.</param>
/// <param name="Weights">fp32, [9][channels of Y].</param>
/// <param name="Bias">fp32, [channels of Y]; 0 for none.</param>
/// <param name="Multiplier">Outputs of an input channel.</param>
/// <param name="Dilation">Of the 3x3 kernel; also its zero padding.</param>
internal readonly record struct CudaDepthwiseBranch(
    DeviceMap X, DeviceMap Y, CUdeviceptr Weights, CUdeviceptr Bias, int Multiplier, int Dilation);

/// <summary>Launches <c>depthwise_conv.cu</c>: dilated depth-wise 3x3 convolutions over maps of one size, all in one launch.</summary>
internal static class DepthwiseConvCuda
{
    public const int MaxBranches = 8;

    private const int Threads = 128, ChunkBytes = 32, SharedLimit = 48 * 1024;

    private static readonly bool[] Choices = [true, false];

    // Large tiles re-read less halo, small ones give small maps more blocks.
    private static readonly (int Height, int Width)[] Tiles = [(16, 16), (8, 16), (8, 8)];

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants =>
        from element in Enum.GetValues<CudaElement>()
        from tile in Tiles
        from aligned in Choices
        select Variant(element, tile, aligned);

    /// <summary>Settles a launch.</summary>
    /// <exception cref="ArgumentException">Branches differ in size or type, or a view does not fit its branch.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, ReadOnlySpan<CudaDepthwiseBranch> branches, bool relu)
    {
        if (branches.Length is 0 or > MaxBranches)
            throw new ArgumentException($"depthwise_conv takes 1 to {MaxBranches} branches, not {branches.Length}: launch the rest separately.");
        DeviceMap map = branches[0].X;
        int perChunk = ChunkBytes / map.Element.Bytes(), chunks = 0, dilation = 1;
        bool aligned = true;
        long bytes = 0, flops = 0;
        Arguments arguments = new() { Count = branches.Length, Height = map.H, Width = map.W, Relu = relu ? 1 : 0 };
        for (int i = 0; i < branches.Length; i++)
        {
            Validate(i, branches[i], map);
            // From the map's longer side on, only the middle tap is inside; the kernel's coordinates stay within 32 bits.
            CudaDepthwiseBranch b = branches[i] with { Dilation = Math.Min(branches[i].Dilation, Math.Max(map.H, map.W)) };
            arguments.Branches[i] = new Branch
            {
                X = b.X.Data, Y = b.Y.Data, Weights = b.Weights, Bias = b.Bias, XStride = b.X.PixelStride, YStride = b.Y.PixelStride,
                Inputs = b.X.C, Multiplier = b.Multiplier, Dilation = b.Dilation, FirstChunk = chunks,
            };
            chunks += (b.X.C + perChunk - 1) / perChunk;
            dilation = Math.Max(dilation, b.Dilation);
            aligned &= b.X.IsVector && b.Y.IsVector && b.Weights.Value % 16 == 0 && b.Bias.Value % 16 == 0;
            bytes += b.X.Bytes + b.Y.Bytes + 40L * b.Y.C;
            flops += 18 * b.Y.Elements;
        }

        int wanted = 2 * kernels.Context.Device.MultiprocessorCount;
        (int Height, int Width) tile = Tiles[^1];
        foreach (var candidate in Tiles)
        {
            if (SharedBytes(candidate, dilation) > SharedLimit || TilesOf(map, candidate) * chunks * map.N < wanted) continue;
            tile = candidate;
            break;
        }
        arguments.TilesAcross = (int)Grid.Blocks(map.W, tile.Width);
        return new CudaLaunch<Arguments>(
            kernels, Variant(map.Element, tile, aligned), new Grid(TilesOf(map, tile), chunks, map.N), Threads, SharedBytes(tile, dilation), arguments)
        {
            Bytes = bytes,
            Flops = flops,
        };
    }

    private static KernelVariant Variant(CudaElement element, (int Height, int Width) tile, bool aligned) => KernelVariant.Of(
        "depthwise_conv", $"ELEMENT={element.KernelName()} TILE_H={tile.Height} TILE_W={tile.Width} ALIGNED={(aligned ? 1 : 0)}", element)
            with { DynamicSharedBytes = null };

    private static long TilesOf(in DeviceMap map, (int Height, int Width) tile) => Grid.Blocks(map.H, tile.Height) * Grid.Blocks(map.W, tile.Width);

    // Where the dilation exceeds the tile, the tile and the two bands that its taps reach.
    private static int SharedBytes((int Height, int Width) tile, int dilation) =>
        (tile.Height + 2 * Math.Min(dilation, tile.Height)) * (tile.Width + 2 * Math.Min(dilation, tile.Width)) * ChunkBytes;

    private static void Validate(int index, in CudaDepthwiseBranch b, in DeviceMap map)
    {
        string name = $"depthwise_conv, branch {index}";
        b.X.Validate($"{name}, x");
        b.Y.Validate($"{name}, y");
        bool isSameMap = (b.X.N, b.X.H, b.X.W) == (map.N, map.H, map.W) && (b.Y.N, b.Y.H, b.Y.W) == (map.N, map.H, map.W);
        if (!isSameMap || b.X.Element != map.Element || b.Y.Element != map.Element)
            throw new ArgumentException($"{name}: x ({b.X}) and y ({b.Y}) must have the size and type of the first branch's x ({map}).");
        if (b.Multiplier < 1 || b.Dilation < 1 || b.X.C * (long)b.Multiplier != b.Y.C)
            throw new ArgumentException($"{name}: multiplier {b.Multiplier} and dilation {b.Dilation} do not make {b.Y.C} of {b.X.C} channels.");
        if (b.Weights.Value == 0 || b.Weights.Value % 4 != 0 || b.Bias.Value % 4 != 0)
            throw new ArgumentException($"{name}: weights at {b.Weights} or bias at {b.Bias} are not fp32 vectors.");
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Branch
    {
        public CUdeviceptr X, Y, Weights, Bias;
        public int XStride, YStride, Inputs, Multiplier, Dilation, FirstChunk;
    }

    [InlineArray(MaxBranches)]
    private struct BranchTable
    {
        private Branch _first;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public BranchTable Branches;
        public int Count, Height, Width, TilesAcross, Relu;
    }
}
