using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Launches <c>conv_mma.cu</c>: dense convolutions of 16-bit types on tensor cores.</summary>
internal static class ConvMmaCuda
{
    private const int Threads = 128, OutputWidth = 4;

    private static readonly CudaElement[] Elements = [CudaElement.Float16, CudaElement.BFloat16];

    // Large tiles read inputs and weights less often, small ones give small maps more blocks.
    private static readonly (int Pixels, int Outputs)[] Tiles = [(128, 64), (64, 64), (64, 32)];

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants => from element in Elements from tile in Tiles select Variant(element, tile);

    /// <summary>
    /// Whether the kernel takes this convolution on this architecture: 16-bit maps, inputs in whole vectors of 16 bytes, outputs in
    /// vectors of 4. Everything else is for <see cref="ConvFfmaCuda"/>.
    /// </summary>
    public static bool Takes(in CudaConvolution conv, ComputeCapability architecture) =>
        conv.X.Element != CudaElement.Float32 && architecture >= new ComputeCapability(8, 0) && conv.X.IsVector
        && IsOutputVector(conv.Y) && (conv.Residual is not { } residual || IsOutputVector(residual)) && conv.Weights.Value % CudaElements.VectorBytes == 0;

    /// <summary>Settles a launch. Weights are of the maps' type.</summary>
    /// <exception cref="ArgumentException">The views do not fit each other, or <see cref="Takes"/> says no.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, in CudaConvolution conv)
    {
        conv.Validate("conv_mma");
        if (!Takes(conv, kernels.Context.Device.ComputeCapability))
            throw new ArgumentException($"conv_mma: {conv.X} to {conv.Y} is not for tensor cores of {kernels.Context.Device}: take conv_ffma.");
        (int Pixels, int Outputs) tile = Tiles[^1];
        foreach (var candidate in Tiles)
        {
            if (BlocksOf(conv, candidate) < kernels.Context.Device.MultiprocessorCount) continue;
            tile = candidate;
            break;
        }
        var grid = new Grid(Grid.Blocks(conv.Y.Pixels, tile.Pixels), Grid.Blocks(conv.Y.C, tile.Outputs));
        return new CudaLaunch<ConvolutionArguments>(kernels, Variant(conv.X.Element, tile), grid, Threads, 0, conv.ToArguments())
        {
            Bytes = conv.Bytes(conv.X.Element.Bytes()),
            Flops = conv.Flops,
        };
    }

    private static long BlocksOf(in CudaConvolution conv, (int Pixels, int Outputs) tile) =>
        Grid.Blocks(conv.Y.Pixels, tile.Pixels) * Grid.Blocks(conv.Y.C, tile.Outputs);

    private static bool IsOutputVector(in DeviceMap map) =>
        map.C % OutputWidth == 0 && map.PixelStride % OutputWidth == 0 && map.Data.Value % (ulong)(OutputWidth * map.Element.Bytes()) == 0;

    // No tensor cores before sm_75, and there no cp.async and no product this deep.
    private static KernelVariant Variant(CudaElement element, (int Pixels, int Outputs) tile) => new(
        "conv_mma", $"ELEMENT={element.KernelName()} TILE_M={tile.Pixels} TILE_N={tile.Outputs}", new ComputeCapability(8, 0));
}
