using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Launches <c>pack_weights.cu</c>: fp32 weights (O, K, K, I) to a kernel's order and type.</summary>
internal static class PackWeightsCuda
{
    private const int Threads = 256;

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants => Enum.GetValues<CudaElement>().Select(Variant);

    /// <summary>Settles a launch that reads fp32 weights and writes <see cref="WeightLayout.ElementsOf"/> elements.</summary>
    /// <exception cref="ArgumentException">The sizes are not those of such weights.</exception>
    public static CudaLaunch Prepare(
        KernelCache kernels, CUdeviceptr weights, CUdeviceptr packed, CudaElement element, WeightLayout layout, int outputs, int taps, int inputs)
    {
        bool fits = layout.Order switch
        {
            WeightOrder.Image => (taps, inputs) == (9, 3),
            WeightOrder.Points => (taps, element) == (9, CudaElement.Float32),
            _ => taps is 1 or 9,
        };
        if (!fits || outputs < 1 || inputs < 1)
            throw new ArgumentException($"pack_weights: {outputs} outputs, {taps} taps and {inputs} inputs can't be packed as {element.KernelName()} {layout}.");
        if (weights.Value == 0 || weights.Value % 4 != 0 || packed.Value == 0 || packed.Value % 16 != 0)
            throw new ArgumentException($"pack_weights: weights at {weights} are not fp32 values, or {packed} is not on 16 bytes.");
        Arguments arguments = new()
        {
            X = weights, Y = packed, Elements = layout.ElementsOf(outputs, taps, inputs), Outputs = outputs, Taps = taps, Inputs = inputs,
            Order = layout.Order, Rows = layout.Rows, Depth = layout.Depth, Chunks = layout.ChunksOf(inputs),
        };
        return new CudaLaunch<Arguments>(kernels, Variant(element), new Grid(Grid.Blocks(arguments.Elements, Threads)), Threads, 0, arguments)
        {
            Bytes = 4L * outputs * taps * inputs + arguments.Elements * element.Bytes(),
        };
    }

    private static KernelVariant Variant(CudaElement element) => KernelVariant.Of("pack_weights", $"ELEMENT={element.KernelName()}", element);

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr X, Y;
        public long Elements;
        public int Outputs, Taps, Inputs;
        public WeightOrder Order;
        public int Rows, Depth, Chunks;
    }
}
