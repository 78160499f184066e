using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>How a convolution takes weights (O, K, K, I).</summary>
internal enum WeightUse
{
    /// <summary>As they stand: I inputs, O outputs.</summary>
    Forward,

    /// <summary>From O inputs to I outputs, tap by tap: the gradient of a convolution of stride 2 by its input.</summary>
    Transposed,

    /// <summary>The same with taps in the opposite order: with it that gradient of a convolution of stride 1 is one itself.</summary>
    TransposedFlipped,
}

/// <summary>Launches <c>pack_weights.cu</c>: fp32 weights (O, K, K, I) to a kernel's order and type.</summary>
internal static class PackWeightsCuda
{
    private const int Threads = 256;

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants => Enum.GetValues<CudaElement>().Select(Variant);

    /// <summary>
    /// Settles a launch that reads fp32 weights and writes <see cref="WeightLayout.ElementsOf"/> elements; outputs and inputs are those of the
    /// convolution that takes them.
    /// </summary>
    /// <exception cref="ArgumentException">The sizes are not those of such weights.</exception>
    public static CudaLaunch Prepare(
        KernelCache kernels, CUdeviceptr weights, CUdeviceptr packed, CudaElement element, WeightLayout layout, int outputs, int taps, int inputs,
        WeightUse use = WeightUse.Forward)
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
        long tapStep = use == WeightUse.Forward ? inputs : use == WeightUse.Transposed ? outputs : -outputs;
        Arguments arguments = new()
        {
            X = use == WeightUse.TransposedFlipped ? weights + (ulong)(taps - 1) * (ulong)outputs * sizeof(float) : weights,
            Y = packed, Elements = layout.ElementsOf(outputs, taps, inputs), Outputs = outputs, Taps = taps, Inputs = inputs, TapStep = tapStep,
            OutputStep = use == WeightUse.Forward ? (long)taps * inputs : 1, InputStep = use == WeightUse.Forward ? 1 : (long)taps * outputs,
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
        public long Elements, OutputStep, TapStep, InputStep;
        public int Outputs, Taps, Inputs;
        public WeightOrder Order;
        public int Rows, Depth, Chunks;
    }
}
