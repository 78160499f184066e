using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// Launches <c>conv_winograd.cu</c>: 3x3 convolutions of stride 1 of fp32 maps by Winograd's F(2x2, 3x3), with 16 products where the direct sum takes
/// 36.
/// </summary>
internal static class ConvWinogradCuda
{
    private const int Rows = 8, Columns = 16, Pixels = Rows * Columns, TilePixels = 4, Depth = 8, Points = 16;

    private static readonly ComputeCapability FirstAsync = new(8, 0);

    private static readonly int[] Channels = [64, 32];

    // A step's instructions for a product against those of conv_ffma.cu: transforms serve all channels of a tile.
    private static double OverheadOf(int channels) => channels == 64 ? 1.1 : 1.2;

    // 0 leaves these convolutions to conv_ffma.cu, to compare or to be rid of a doubt.
    public static readonly bool IsAllowed = FeatureSwitch.IsOn("DWRSEG_WINOGRAD");

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants => Channels.SelectMany(c => new[] { Variant(TileOf(c, 1)), Variant(TileOf(c, 2)) });

    /// <summary>Names of the tiles, pixels x channels, that a convolution can be divided into; none where it is not for this kernel.</summary>
    public static IReadOnlyList<string> TilesFor(CudaDevice device, in CudaConvolution c) => [.. For(device, c).Select(NameOf)];

    /// <summary>The kernels of these.</summary>
    public static IReadOnlyList<KernelVariant> VariantsFor(CudaDevice device, in CudaConvolution c) => [.. For(device, c).Select(Variant)];

    /// <summary>What the best launch takes by the model of <see cref="ConvTile"/>, in cycles; infinite where the kernel is not for it.</summary>
    public static double Cycles(CudaDevice device, CudaConvolution c) =>
        For(device, c).Select(t => CyclesOf(t, device, c)).Append(double.PositiveInfinity).Min();

    /// <summary>
    /// Settles the launch that the model finds cheapest, or that of one tile. It wants its weights in the order <see cref="WeightOrder.Points"/>.
    /// </summary>
    /// <exception cref="ArgumentException">The convolution is malformed, or not of the kind that the kernel is for.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, in CudaConvolution c, string? tile = null)
    {
        CudaDevice device = kernels.Context.Device;
        CudaConvolution convolution = c;
        c.Validate("conv_winograd");
        ConvTile[] tiles = [.. For(device, c).Where(t => tile is null || NameOf(t) == tile)];
        if (tiles.Length == 0)
        {
            throw new ArgumentException(tile is null || TilesFor(device, c).Count == 0
                ? $"conv_winograd: takes 3x3 convolutions of stride 1 of fp32 maps below 8 GiB{(IsAllowed ? "" : " (but for DWRSEG_WINOGRAD=0)")}, "
                    + $"not {c.Kernel}x{c.Kernel} of stride {c.Stride} of {c.X}."
                : $"conv_winograd has no tile {tile}.");
        }
        ConvTile chosen = tiles.MinBy(t => CyclesOf(t, device, convolution));
        Arguments arguments = new()
        {
            X = c.X.Data, Weights = c.WeightsIn(WeightLayout.Points(chosen.Channels, Depth), "conv_winograd"), Shape = c.Shape, Epilogue = c.Epilogue,
            ChannelTiles = (int)Grid.Blocks(c.Y.C, chosen.Channels),
        };
        var launch = new CudaLaunch<Arguments>(
            kernels, Variant(chosen), new Grid(chosen.TilesOf(c)), chosen.Threads, chosen.SharedBytes, arguments)
        {
            // Sixteen points for nine taps.
            Bytes = c.Bytes + (long)(Points - c.Taps) * c.X.C * c.Y.C * sizeof(float),
            Flops = FlopsOf(c),
        };
        launch.Kernel.AllowDynamicShared(chosen.SharedBytes);
        return launch;
    }

    // The kernel counts elements of x in 32 bits.
    private static bool Fits(in CudaConvolution c) => IsAllowed && c is { Kernel: 3, Stride: 1 } && c.X.Element == CudaElement.Float32
        && c.X.Pixels * c.X.PixelStride <= int.MaxValue;

    private static IEnumerable<ConvTile> For(CudaDevice device, in CudaConvolution c)
    {
        return Fits(c) ? Channels.Select(n => TileOf(n, StagesOf(n, device))).Where(t => t.SharedBytes <= device.MaxSharedBytesPerBlock) : [];
    }

    // A second stage where it does not cost the second block that registers allow, which hides as much.
    private static int StagesOf(int channels, CudaDevice device)
    {
        int blocks = 64 / channels, shared = device[CUdeviceAttribute.MaxSharedMemoryPerMultiprocessor];
        return device.ComputeCapability >= FirstAsync && blocks * (2 * StageBytes(channels) + ConvTile.ReservedBytes(device)) <= shared ? 2 : 1;
    }

    private static double CyclesOf(in ConvTile tile, CudaDevice device, in CudaConvolution c) =>
        tile.Cycles(c, splits: 1, device, ConvFfmaCuda.Rate(device.ComputeCapability));

    // The products that are left, of whole 2x2 tiles.
    private static long FlopsOf(in CudaConvolution c) => 2L * Points * c.Y.N * Grid.Blocks(c.Y.H, 2) * Grid.Blocks(c.Y.W, 2) * c.X.C * c.Y.C;

    private static string NameOf(ConvTile tile) => $"winograd-{tile.Pixels}x{tile.Channels}";

    private static ConvTile TileOf(int channels, int stages) =>
        new(Pixels, channels, Depth, channels * 8, StageBytes(channels) * stages, Registers: 128)
        {
            Area = (Rows, Columns), TakesAllTaps = true, StepCost = OverheadOf(channels) * Points / TilePixels, StepWeights = Points,
            CopiedPixels = (Rows + 2) * (Columns + 2),
        };

    // Of each point eight inputs of weights and of 32 tiles.
    private static int StageBytes(int channels) => Points * Depth * 4 * (channels + Pixels / TilePixels);

    private static KernelVariant Variant(ConvTile tile)
    {
        int stages = tile.SharedBytes / StageBytes(tile.Channels);
        KernelVariant variant = KernelVariant.Of("conv_winograd", $"TILE_N={tile.Channels} STAGES={stages}");
        return variant with { DynamicSharedBytes = tile.SharedBytes, FirstArchitecture = stages > 1 ? FirstAsync : variant.FirstArchitecture };
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr X, Weights;
        public ConvShape Shape;
        public ConvEpilogue Epilogue;
        public int ChannelTiles;
    }
}
