using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>The order of a kernel's weights. The numbers are those of <c>pack_weights.cu</c>.</summary>
internal enum WeightOrder
{
    /// <summary>An output's weights together, input channels rounded up to 8: tensor-core kernels.</summary>
    Rows,

    /// <summary>All outputs of an input together, rounded up to 4: <c>conv_ffma.cu</c>.</summary>
    Columns,

    /// <summary>32 values an output: <c>conv_first.cu</c>.</summary>
    Image,
}

/// <summary>Launches <c>pack_weights.cu</c>: fp32 weights (O, K, K, I) to a kernel's order and type.</summary>
internal static class PackWeightsCuda
{
    private const int Threads = 256, ImageValues = 32;

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants => Enum.GetValues<CudaElement>().Select(Variant);

    /// <summary>Elements that the packed weights take.</summary>
    public static long ElementsOf(WeightOrder order, int outputs, int taps, int inputs) => order switch
    {
        WeightOrder.Rows => (long)outputs * taps * ((inputs + 7) / 8 * 8),
        WeightOrder.Columns => (long)taps * inputs * ((outputs + 3) / 4 * 4),
        _ => (long)outputs * ImageValues,
    };

    /// <summary>Settles a launch that reads fp32 weights and writes <see cref="ElementsOf"/> elements.</summary>
    /// <exception cref="ArgumentException">The sizes are not those of such weights.</exception>
    public static CudaLaunch Prepare(
        KernelCache kernels, CUdeviceptr weights, CUdeviceptr packed, CudaElement element, WeightOrder order, int outputs, int taps, int inputs)
    {
        if (outputs < 1 || taps is not (1 or 9) || inputs < 1 || (order == WeightOrder.Image && (taps, inputs) != (9, 3)))
            throw new ArgumentException($"pack_weights: {outputs} outputs, {taps} taps and {inputs} inputs can't be packed as {order}.");
        if (weights.Value == 0 || weights.Value % 4 != 0 || packed.Value == 0 || packed.Value % 16 != 0)
            throw new ArgumentException($"pack_weights: weights at {weights} are not fp32 values, or {packed} is not on 16 bytes.");
        Arguments arguments = new()
        {
            X = weights, Y = packed, Elements = ElementsOf(order, outputs, taps, inputs), Outputs = outputs, Taps = taps, Inputs = inputs, Order = order,
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
    }
}
