using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Launches <c>conv_ffma.cu</c>: dense convolutions in exact fp32, and the gradients of those of stride 2 by their inputs.</summary>
internal static class ConvFfmaCuda
{
    private const int TileK = 16, Side = 8;

    private static readonly ConvTile[] Tiles = [Tile(128, 64), Tile(128, 32), Tile(64, 64)];

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants =>
    [
        .. Tiles.SelectMany(t => Enum.GetValues<SumSharing>().Select(s => Variant(t, true, s))), Variant(Tiles[^1], false, SumSharing.None),
        Variant(Tiles[0], true, SumSharing.None, transposed: true), Variant(Tiles[^1], true, SumSharing.None, transposed: true),
        Variant(Tiles[^1], false, SumSharing.None, transposed: true),
    ];

    /// <summary>The workspace that would let the launch be as fast as it can be, with the tile of a name or the one that the model takes.</summary>
    public static (long PartialBytes, int Tiles) WorkspaceFor(CudaDevice device, in CudaConvolution c, string? tile = null)
    {
        (ConvTile chosen, int splits) = Choose(device, c, SplitWorkspace.Unlimited, tile);
        return chosen.WorkspaceOf(device, c, splits);
    }

    /// <summary>Names of the tiles, pixels x channels, that a convolution can be divided into.</summary>
    public static IReadOnlyList<string> TilesFor(in CudaConvolution c) => c.X.IsVector ? [.. Tiles.Select(NameOf)] : [NameOf(Tiles[^1])];

    /// <summary>The kernels that these take where there is memory for shared sums.</summary>
    public static IReadOnlyList<KernelVariant> VariantsFor(CudaDevice device, CudaConvolution c) =>
    [
        .. TilesFor(c).Select(t => Choose(device, c, SplitWorkspace.Unlimited, t))
            .Select(t => Variant(t.Tile, c.X.IsVector, ConvTile.SharingOf(device, t.Splits))).Distinct(),
    ];

    /// <summary>What the best launch takes by the model of <see cref="ConvTile"/>, in cycles.</summary>
    public static double Cycles(CudaDevice device, in CudaConvolution c)
    {
        (ConvTile tile, int splits) = Choose(device, c, SplitWorkspace.Unlimited, name: null);
        return tile.Cycles(c, splits, device, Rate(device.ComputeCapability));
    }

    /// <summary>
    /// Settles the launch that the model finds cheapest, or the cheapest of one tile. It wants its weights in the order
    /// <see cref="WeightOrder.Columns"/>.
    /// </summary>
    /// <exception cref="ArgumentException">The convolution is malformed or not of fp32 maps.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, in CudaConvolution c, in SplitWorkspace workspace = default, string? tile = null)
    {
        CudaDevice device = kernels.Context.Device;
        c.Validate("conv_ffma");
        if (c.X.Element != CudaElement.Float32) throw new ArgumentException($"conv_ffma: takes fp32 maps, not {c.X.Element.KernelName()}: use conv_mma.");
        (ConvTile chosen, int splits) = Choose(device, c, workspace, tile);
        SumSharing sharing = ConvTile.SharingOf(device, splits);
        ConvArguments arguments = new()
        {
            X = c.X.Data, Weights = c.WeightsIn(WeightLayout.Columns, "conv_ffma"), Shape = c.Shape, Epilogue = c.Epilogue,
            Partials = workspace.Partials, Arrivals = workspace.Arrivals,
            ChannelTiles = (int)Grid.Blocks(c.Y.C, chosen.Channels), Splits = splits,
        };
        return new CudaLaunch<ConvArguments>(
            kernels, Variant(chosen, c.X.IsVector, sharing), new Grid(chosen.TilesOf(c) * splits), chosen.Threads, 0, arguments)
        {
            ClusterBlocks = sharing == SumSharing.Cluster ? splits : 1,
            Bytes = c.Bytes,
            Flops = c.Flops,
        };
    }

    /// <summary>
    /// Settles the launch of the gradient of a convolution of stride 2 by its input. It wants the weights, of dy's channels to dx's, in the order
    /// <see cref="WeightOrder.Columns"/> (<see cref="WeightUse.Transposed"/>).
    /// </summary>
    /// <param name="kernels">Where kernels come from.</param>
    /// <param name="dy">The output's gradient, fp32.</param>
    /// <param name="dx">The input's.</param>
    /// <param name="weights">Gives the weights.</param>
    /// <param name="kernel">1 or 3.</param>
    /// <param name="accumulate">Adds to what dx holds.</param>
    /// <exception cref="ArgumentException">The maps do not fit each other or the kernel.</exception>
    public static CudaLaunch PrepareTransposed(
        KernelCache kernels, in DeviceMap dy, in DeviceMap dx, WeightPacking weights, int kernel, bool accumulate)
    {
        const int BlocksPerMultiprocessor = 3;
        // What these sizes are of the convolution.
        CudaConvolution forward = new(dx, dy, weights, kernel, Stride: 2);
        forward.Validate("conv_ffma");
        if (dx.Element != CudaElement.Float32) throw new ArgumentException($"conv_ffma: takes fp32 maps, not {dx.Element.KernelName()}.");
        if (dx.Pixels > int.MaxValue) throw new ArgumentException($"conv_ffma: {dx} has more than 2^31 - 1 pixels: split the batch.");
        CudaConvolution c = new(dy, dx, weights, kernel, Stride: 2) { Residual = accumulate ? dx : null };
        bool isLarge = Tiles[0].TilesOf(c) >= BlocksPerMultiprocessor * (long)kernels.Context.Device.MultiprocessorCount;
        ConvTile tile = dy.IsVector && isLarge ? Tiles[0] : Tiles[^1];
        ConvArguments arguments = new()
        {
            X = dy.Data, Weights = c.WeightsIn(WeightLayout.Columns, "conv_ffma"), Shape = c.Shape, Epilogue = c.Epilogue,
            ChannelTiles = (int)Grid.Blocks(dx.C, tile.Channels), Splits = 1,
        };
        return new CudaLaunch<ConvArguments>(
            kernels, Variant(tile, dy.IsVector, SumSharing.None, transposed: true), new Grid(tile.TilesOf(c)), tile.Threads, 0, arguments)
        {
            Bytes = forward.Bytes + (accumulate ? dx.Bytes : 0),
            Flops = forward.Flops,
        };
    }

    private static (ConvTile Tile, int Splits) Choose(CudaDevice device, in CudaConvolution c, in SplitWorkspace workspace, string? name)
    {
        // Unaligned channels are read one by one: what bounds them is no matter of tiles.
        if (!c.X.IsVector) return (Tiles[^1], 1);
        ConvTile[] tiles = [.. Tiles.Where(t => name is null || NameOf(t) == name).Select(t => t with { Registers = RegistersOf(device, t) })];
        if (tiles.Length == 0) throw new ArgumentException($"conv_ffma has no tile {name}.");
        return ConvTile.Choose(c, tiles, device, Rate(device.ComputeCapability), workspace);
    }

    // Before sm_80 copies pass through registers: blocks of 64 threads take 184 to 238, and since multiprocessors have room for multiples of four warps,
    // four blocks fit in either case, as they would with this.
    private static int RegistersOf(CudaDevice device, in ConvTile tile) =>
        tile.Threads > 64 || device.ComputeCapability >= new ComputeCapability(8, 0) ? tile.Registers : 240;

    private static string NameOf(ConvTile tile) => $"{tile.Pixels}x{tile.Channels}";

    private static ConvTile Tile(int pixels, int channels) =>
        new(pixels, channels, TileK, pixels * channels / (Side * Side), 2 * TileK * (pixels + channels) * 4, Registers: 168);

    private static KernelVariant Variant(in ConvTile tile, bool aligned, SumSharing sharing, bool transposed = false)
    {
        KernelVariant variant = KernelVariant.Of(
            "conv_ffma",
            $"TILE_M={tile.Pixels} TILE_N={tile.Channels} SPLIT={(int)sharing} ALIGNED={(aligned ? 1 : 0)} TRANSPOSED={(transposed ? 1 : 0)}");
        return sharing == SumSharing.Cluster ? variant with { FirstArchitecture = Clusters.FirstArchitecture } : variant;
    }

    // Multiply-adds a cycle and multiprocessor: its fp32 units.
    internal static double Rate(ComputeCapability architecture) => architecture.Number is 75 or 80 ? 64 : 128;
}
