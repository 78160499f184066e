using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>One of the maps that the first convolution writes.</summary>
internal readonly record struct FirstOutput(DeviceMap Y, bool Relu);

/// <summary>Launches <c>conv_first.cu</c>: the 3x3 convolutions of stride 2 that read a three-channel image, up to two in one launch.</summary>
internal static class ConvFirstCuda
{
    private const int TileH = 8, TileW = 32, Threads = 256, TileWords = 17 * 101, RowBytes = 64, MostChannels = 512;

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants => [Variant(CudaElement.Float16), Variant(CudaElement.BFloat16)];

    /// <summary>True where the kernel can make these maps of the image on this device; other kernels can always.</summary>
    public static bool Fits(CudaDevice device, in DeviceMap x, params ReadOnlySpan<FirstOutput> outputs)
    {
        if (x.Element == CudaElement.Float32 || x.Element.FirstArchitecture() > device.ComputeCapability) return false;
        if (x.C != 3 || outputs.Length is not (1 or 2)) return false;
        int channels = 0;
        foreach (FirstOutput output in outputs)
        {
            if (!output.Y.IsVector) return false;
            channels += output.Y.C;
        }
        return channels <= MostChannels;
    }

    /// <summary>
    /// Settles a launch. Weights are in the order <see cref="WeightOrder.Image"/>, those of the first map before those of the second, and so is
    /// the fp32 bias, on 8 bytes; 0 for none.
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
            throw new ArgumentException($"conv_first: takes 3 channels of fp16 or bf16 to one or two vector maps of {MostChannels} channels together, not {x}.");
        if (weights.Value == 0 || weights.Value % 16 != 0 || bias.Value % 8 != 0)
            throw new ArgumentException($"conv_first: weights at {weights} are not on 16 bytes, or the bias at {bias} is not on 8.");
        FirstOutput first = outputs[0], last = outputs[^1];
        int channels = outputs.Length == 1 ? first.Y.C : first.Y.C + last.Y.C;
        Arguments arguments = new()
        {
            X = x.Data, Weights = weights, Bias = bias, First = Target(first), Second = Target(last), Height = x.H, Width = x.W, XStride = x.PixelStride,
            OutHeight = height, OutWidth = width, Channels = channels, FirstChannels = first.Y.C, TilesAcross = (int)Grid.Blocks(width, TileW),
        };
        int shared = TileWords * 4 + channels * RowBytes;
        var grid = new Grid(arguments.TilesAcross * Grid.Blocks(height, TileH), 1, x.N);
        long pixels = (long)x.N * height * width;
        return new CudaLaunch<Arguments>(kernels, Variant(x.Element), grid, Threads, shared, arguments)
        {
            Bytes = x.Bytes + pixels * channels * x.Element.Bytes() + channels * (RowBytes + (bias.Value == 0 ? 0 : 4)),
            Flops = 54 * pixels * channels,
        };
    }

    private static Output Target(in FirstOutput output) => new() { Y = output.Y.Data, Stride = output.Y.PixelStride, Relu = output.Relu ? 1 : 0 };

    private static KernelVariant Variant(CudaElement element) => KernelVariant.Of("conv_first", $"ELEMENT={element.KernelName()}", element)
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
