using DwrSeg.Native.Cuda.Compilation;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Launches <c>conv_ffma.cu</c>: dense convolutions in exact fp32, for every type, size and architecture.</summary>
internal static class ConvFfmaCuda
{
    private const int Threads = 256, Block = 64, Width = 4;

    private static readonly int[] Widths = [Width, 1];

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants =>
        from element in Enum.GetValues<CudaElement>() from loads in Widths from stores in Widths select Variant(element, loads, stores);

    /// <summary>Settles a launch.</summary>
    /// <exception cref="ArgumentException">The views do not fit each other.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, in CudaConvolution conv)
    {
        (DeviceMap x, DeviceMap y) = (conv.X, conv.Y);
        conv.Validate("conv_ffma");
        if (conv.Weights.Value % 4 != 0) throw new ArgumentException($"conv_ffma: weights at {conv.Weights} are not fp32.");
        bool loads = IsVector(x) && conv.Weights.Value % CudaElements.VectorBytes == 0;
        bool stores = IsVector(y);
        return new CudaLaunch<ConvolutionArguments>(
            kernels, Variant(y.Element, loads ? Width : 1, stores ? Width : 1),
            new Grid(Grid.Blocks(y.Pixels, Block), Grid.Blocks(y.C, Block)), Threads, 0, conv.ToArguments())
        {
            Bytes = conv.Bytes(weightBytes: 4),
            Flops = conv.Flops,
        };
    }

    private static bool IsVector(in DeviceMap map) =>
        map.C % Width == 0 && map.PixelStride % Width == 0 && map.Data.Value % (ulong)(Width * map.Element.Bytes()) == 0;

    private static KernelVariant Variant(CudaElement element, int loads, int stores) =>
        KernelVariant.Of("conv_ffma", $"ELEMENT={element.KernelName()} LOADS={loads} STORES={stores}", element);
}
