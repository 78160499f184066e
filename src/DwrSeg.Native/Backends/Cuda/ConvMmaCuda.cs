using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Launches <c>conv_mma.cu</c>: dense convolutions of fp16 and bf16 maps on tensor cores.</summary>
internal static class ConvMmaCuda
{
    private static readonly ComputeCapability FirstAsync = new(8, 0);

    // Large tiles take less from L2 for each product, small ones give more multiprocessors work. A warp's part is at most 64x32: more would
    // take its registers.
    private static readonly Division[] Divisions =
    [
        new(128, 128, 64, 3, 2, 4, 128), new(128, 64, 64, 3, 2, 2, 168), new(64, 128, 64, 3, 2, 4, 116), new(64, 64, 64, 4, 2, 2, 116),
        new(64, 32, 64, 4, 4, 1, 96), new(32, 64, 64, 4, 2, 2, 96),
    ];

    // Sixteen pixels a warp, so that four have the 64 of a product. Four stages, because products read one beside those under way.
    private static readonly Division[] WarpgroupDivisions =
    [
        new(128, 128, 64, 4, 8, 1, 128, HasWarpgroups: true), new(128, 64, 64, 4, 8, 1, 116, HasWarpgroups: true),
        new(64, 128, 64, 4, 4, 2, 116, HasWarpgroups: true), new(64, 64, 64, 4, 4, 1, 116, HasWarpgroups: true),
        new(64, 32, 64, 4, 4, 1, 96, HasWarpgroups: true),
    ];

    // Without asynchronous copies more stages only cost shared memory; registers hold the copies under way.
    private static readonly Division[] PlainDivisions = [new(128, 64, 32, 2, 2, 2, 168), new(64, 64, 32, 2, 2, 2, 116), new(64, 32, 32, 2, 4, 1, 96)];

    // Unaligned channels are read one by one: what bounds them is no matter of tiles.
    private static readonly Division Unaligned = new(64, 64, 32, 2, 2, 2, 116);

    /// <summary>How a block divides its tile; the values that the kernel is specialised by.</summary>
    private sealed record Division(int TileM, int TileN, int TileK, int Stages, int WarpsM, int WarpsN, int Registers, bool HasWarpgroups = false)
    {
        public string Name => $"{TileM}x{TileN}{(HasWarpgroups ? "-wgmma" : "")}";

        public ConvTile Tile { get; } = new(
            TileM, TileN, TileK, 32 * WarpsM * WarpsN,
            Math.Max(Stages * (TileM + TileN) * TileK * 2, TileM * ((TileN + 8) * 4 + Math.Min(TileN, 64) * 2)), Registers)
        {
            HasWarpgroups = HasWarpgroups,
        };

        public KernelVariant Variant(CudaElement element, bool aligned, SumSharing sharing)
        {
            KernelVariant variant = KernelVariant.Of(
                "conv_mma",
                $"ELEMENT={element.KernelName()} TILE_M={TileM} TILE_N={TileN} TILE_K={TileK} STAGES={Stages} WARPS_M={WarpsM} WARPS_N={WarpsN} " +
                $"SPLIT={(int)sharing} ALIGNED={(aligned ? 1 : 0)}{(HasWarpgroups ? " WGMMA=1" : "")}",
                element);
            // More than two stages are asynchronous copies.
            return variant with
            {
                DynamicSharedBytes = Tile.SharedBytes, IsSpecific = HasWarpgroups,
                FirstArchitecture = HasWarpgroups ? Warpgroups.Architecture
                    : sharing == SumSharing.Cluster ? Clusters.FirstArchitecture
                    : Stages > 2 ? FirstAsync : variant.FirstArchitecture,
            };
        }
    }

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants =>
        from element in new[] { CudaElement.Float16, CudaElement.BFloat16 }
        from variant in Divisions.Concat(WarpgroupDivisions).Concat(element == CudaElement.Float16 ? PlainDivisions : [])
            .SelectMany(d => SharingsOf(d).Select(s => d.Variant(element, true, s))).Append(Unaligned.Variant(element, false, SumSharing.None))
        select variant;

    /// <summary>The workspace that would let the launch be as fast as it can be, with the tile of a name or the one that the model takes.</summary>
    public static (long PartialBytes, int Tiles) WorkspaceFor(CudaDevice device, in CudaConvolution c, string? tile = null)
    {
        (Division division, int splits) = Choose(device, c, SplitWorkspace.Unlimited, tile);
        return division.Tile.WorkspaceOf(device, c, splits);
    }

    /// <summary>Names of the tiles, pixels x channels and whether their products are those of warpgroups, that a convolution can be divided into on a device.</summary>
    public static IReadOnlyList<string> TilesFor(CudaDevice device, in CudaConvolution c) =>
        [.. DivisionsFor(device, c).Where(d => d.Tile.SharedBytes <= device.MaxSharedBytesPerBlock).Select(d => d.Name)];

    /// <summary>The kernels that these take where there is memory for shared sums.</summary>
    public static IReadOnlyList<KernelVariant> VariantsFor(CudaDevice device, CudaConvolution c) =>
    [
        .. TilesFor(device, c).Select(t => Choose(device, c, SplitWorkspace.Unlimited, t))
            .Select(t => t.Division.Variant(c.X.Element, c.X.IsVector, ConvTile.SharingOf(device, t.Splits))).Distinct(),
    ];

    /// <summary>What the best launch takes by the model of <see cref="ConvTile"/>, in cycles.</summary>
    public static double Cycles(CudaDevice device, in CudaConvolution c)
    {
        (Division division, int splits) = Choose(device, c, SplitWorkspace.Unlimited);
        return division.Tile.Cycles(c, splits, device, Rate(device.ComputeCapability));
    }

    /// <summary>
    /// Settles the launch that the model of <see cref="ConvTile"/> finds cheapest, or the cheapest of one tile. It wants its weights in the order
    /// <see cref="WeightOrder.Tiles"/>.
    /// </summary>
    /// <exception cref="ArgumentException">The convolution is malformed, or of a type or on a device that the kernel is not for.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, in CudaConvolution c, in SplitWorkspace workspace = default, string? tile = null)
    {
        Validate(kernels, c);
        (Division division, int splits) = Choose(kernels.Context.Device, c, workspace, tile);
        return Launch(kernels, c, workspace, division, splits);
    }

    /// <summary>The best launch of each tile, for choosing by time on a device.</summary>
    /// <exception cref="ArgumentException">As <see cref="Prepare"/>.</exception>
    public static IReadOnlyList<CudaLaunch> Candidates(KernelCache kernels, in CudaConvolution c, in SplitWorkspace workspace = default)
    {
        CudaDevice device = kernels.Context.Device;
        var launches = new List<CudaLaunch>();
        foreach (string tile in TilesFor(device, c)) launches.Add(Prepare(kernels, c, workspace, tile));
        return launches;
    }

    private static CudaLaunch Launch(KernelCache kernels, in CudaConvolution c, in SplitWorkspace workspace, Division division, int splits)
    {
        ConvTile tile = division.Tile;
        SumSharing sharing = ConvTile.SharingOf(kernels.Context.Device, splits);
        ConvArguments arguments = new()
        {
            X = c.X.Data, Weights = c.WeightsIn(WeightLayout.Tiles(tile.Channels, tile.Depth), "conv_mma"), Shape = c.Shape,
            Epilogue = c.Epilogue, Partials = workspace.Partials, Arrivals = workspace.Arrivals,
            ChannelTiles = (int)Grid.Blocks(c.Y.C, tile.Channels), Splits = splits,
        };
        var launch = new CudaLaunch<ConvArguments>(
            kernels, division.Variant(c.X.Element, c.X.IsVector, sharing), new Grid(tile.TilesOf(c) * splits), tile.Threads, tile.SharedBytes, arguments)
        {
            ClusterBlocks = sharing == SumSharing.Cluster ? splits : 1,
            Bytes = c.Bytes,
            Flops = c.Flops,
        };
        launch.Kernel.AllowDynamicShared(tile.SharedBytes);
        return launch;
    }

    // Without asynchronous copies a division is not for devices with clusters.
    private static SumSharing[] SharingsOf(Division division) =>
        division.Stages > 2 ? [SumSharing.None, SumSharing.Memory, SumSharing.Cluster] : [SumSharing.None, SumSharing.Memory];

    private static void Validate(KernelCache kernels, in CudaConvolution c)
    {
        ComputeCapability architecture = kernels.Context.Device.ComputeCapability;
        c.Validate("conv_mma");
        if (c.X.Element == CudaElement.Float32 || c.X.Element.FirstArchitecture() > architecture)
            throw new ArgumentException($"conv_mma: no tensor cores of {architecture} take {c.X.Element.KernelName()}: use conv_ffma with fp32.");
    }

    private static Division[] DivisionsFor(CudaDevice device, in CudaConvolution c) =>
        !c.X.IsVector ? [Unaligned]
            : device.ComputeCapability < FirstAsync ? PlainDivisions
            : Warpgroups.AreOn(device) ? [.. WarpgroupDivisions, .. Divisions]
            : Divisions;

    private static (Division Division, int Splits) Choose(
        CudaDevice device, in CudaConvolution c, in SplitWorkspace workspace, string? name = null)
    {
        if (!c.X.IsVector) return (Unaligned, 1);
        Division[] divisions = [.. DivisionsFor(device, c).Where(d => name is null || d.Name == name)];
        if (divisions.Length == 0) throw new ArgumentException($"conv_mma has no tile {name} on {device}.");
        (ConvTile tile, int splits) = ConvTile.Choose(c, [.. divisions.Select(d => d.Tile)], device, Rate(device.ComputeCapability), workspace);
        return (divisions.First(d => d.Tile == tile), splits);
    }

    /// <summary>Multiply-adds with fp32 sums a cycle and multiprocessor. On sm_90 <c>mma.sync</c> reaches about 62 % of what <c>wgmma</c> does.</summary>
    public static double Rate(ComputeCapability architecture) => architecture.Number switch
    {
        90 => 1270,
        80 => 1024,
        _ => 256,
    };
}
