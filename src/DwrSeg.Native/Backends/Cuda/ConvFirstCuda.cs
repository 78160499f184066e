using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>One of the maps that the first convolution writes.</summary>
internal readonly record struct FirstOutput(DeviceMap Y, bool Relu);

/// <summary>
/// Launches <c>conv_first.cu</c>, in fp32 <c>conv_first_ffma.cu</c>: the 3x3 convolutions of stride 2 that read a three-channel image, up to two in
/// one launch.
/// </summary>
internal static class ConvFirstCuda
{
    // Blocks of every device have so much.
    private const int TileW = 32, Threads = 256, MostSharedBytes = 48 << 10;

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants => Enum.GetValues<CudaElement>().Select(Variant);

    /// <summary>How each map's weights lie, the second's behind the first's.</summary>
    public static WeightLayout LayoutFor(CudaElement element) => element == CudaElement.Float32 ? WeightLayout.Columns : WeightLayout.Image;

    /// <summary>True where the kernel can make these maps of the image on this device; other kernels can always.</summary>
    public static bool Fits(CudaDevice device, in DeviceMap x, params ReadOnlySpan<FirstOutput> outputs)
    {
        if (x.Element.FirstArchitecture() > device.ComputeCapability) return false;
        if (x.C != 3 || outputs.Length is not (1 or 2)) return false;
        int channels = 0;
        foreach (FirstOutput output in outputs)
        {
            if (!output.Y.IsVector) return false;
            channels += output.Y.C;
        }
        return SharedBytes(x.Element, channels) <= MostSharedBytes;
    }

    /// <summary>
    /// Settles a launch. Weights lie as <see cref="LayoutFor"/> says, those of the first map before those of the second, and so does the fp32 bias, on
    /// 16 bytes; 0 for none.
    /// </summary>
    /// <exception cref="ArgumentException">The maps do not fit each other or the kernel.</exception>
    public static CudaLaunch Prepare(
        KernelCache kernels, in DeviceMap x, CUdeviceptr weights, CUdeviceptr bias, params ReadOnlySpan<FirstOutput> outputs)
    {
        x.Validate("conv_first, x");
        (int height, int width) = ((x.H + 1) / 2, (x.W + 1) / 2);
        foreach (FirstOutput output in outputs)
        {
            output.Y.Validate("conv_first, y");
            if ((output.Y.N, output.Y.H, output.Y.W, output.Y.Element) != (x.N, height, width, x.Element))
                throw new ArgumentException($"conv_first: stride 2 does not make {output.Y} of {x}.");
        }
        if (!Fits(kernels.Context.Device, x, outputs))
            throw new ArgumentException($"conv_first: takes 3 channels to one or two vector maps whose weights fit shared memory, not {x}.");
        if (weights.Value == 0 || weights.Value % 16 != 0 || bias.Value % 16 != 0)
            throw new ArgumentException($"conv_first: weights at {weights} or the bias at {bias} are not on 16 bytes.");
        FirstOutput first = outputs[0], last = outputs[^1];
        int channels = outputs.Length == 1 ? first.Y.C : first.Y.C + last.Y.C;
        Arguments arguments = new()
        {
            X = x.Data, Weights = weights, Bias = bias, First = Target(first), Second = Target(last), Height = x.H, Width = x.W, XStride = x.PixelStride,
            OutHeight = height, OutWidth = width, Channels = channels, FirstChannels = first.Y.C, TilesAcross = (int)Grid.Blocks(width, TileW),
        };
        var grid = new Grid(arguments.TilesAcross * Grid.Blocks(height, x.Element == CudaElement.Float32 ? 16 : 8), 1, x.N);
        long pixels = (long)x.N * height * width;
        return new CudaLaunch<Arguments>(kernels, Variant(x.Element), grid, Threads, SharedBytes(x.Element, channels), arguments)
        {
            Bytes = x.Bytes + pixels * channels * x.Element.Bytes() + channels * (RowBytes(x.Element) + (bias.Value == 0 ? 0 : 4)),
            Flops = 54 * pixels * channels,
        };
    }

    private static Output Target(in FirstOutput output) => new() { Y = output.Y.Data, Stride = output.Y.PixelStride, Relu = output.Relu ? 1 : 0 };

    // An output's weights.
    private static int RowBytes(CudaElement element) => element == CudaElement.Float32 ? 27 * 4 : 64;

    // The image's tile in words, and the weights.
    private static int SharedBytes(CudaElement element, int channels) =>
        (element == CudaElement.Float32 ? 33 * 199 : 17 * 101) * 4 + channels * RowBytes(element);

    /// <summary>The kernel for maps of a type.</summary>
    public static KernelVariant Variant(CudaElement element) => (element == CudaElement.Float32
        ? KernelVariant.Of("conv_first_ffma", "", element) : KernelVariant.Of("conv_first", $"ELEMENT={element.KernelName()}", element))
            with { DynamicSharedBytes = null };

    [StructLayout(LayoutKind.Sequential)]
    private struct Output
    {
        public CUdeviceptr Y;
        public int Stride, Relu;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr X, Weights, Bias;
        public Output First, Second;
        public int Height, Width, XStride, OutHeight, OutWidth, Channels, FirstChannels, TilesAcross;
    }
}
