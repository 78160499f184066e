using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>A convolution's weights on their way to the kernel that takes them: the memory, and the launch that fills it.</summary>
/// <param name="binder">Where they come from.</param>
/// <param name="name">The convolution's, for errors.</param>
/// <param name="weights">(O, K, K, I).</param>
/// <param name="use">How the kernel takes them.</param>
internal sealed class PackedWeights(CudaBinder binder, string name, TensorView weights, WeightUse use = WeightUse.Forward)
{
    private CudaLaunch? _launch;
    private CudaDeviceVariable<byte>? _memory;

    /// <summary>Those of a convolution.</summary>
    public PackedWeights(CudaBinder binder, Node conv)
        : this(binder, conv.Name, conv.Inputs[1])
    {
    }

    /// <summary>What fills them, once a kernel has said how it wants them.</summary>
    public CudaLaunch Launch => _launch ?? throw new InvalidOperationException($"No kernel has asked for the weights of '{name}'.");

    public CudaDeviceVariable<byte> Memory => _memory ?? throw new InvalidOperationException($"No kernel has asked for the weights of '{name}'.");

    /// <summary>What the packed weights of a graph take at most about: the layouts are the kernels' choice.</summary>
    public static long BytesOf(LayerGraph graph, CudaElement element)
    {
        return element.Bytes() * graph.Nodes.Sum(n => n.Layer switch
        {
            Conv2d layer => Elements(n.Inputs[1].Shape, layer.Stride),
            Conv2dDataGradient layer => Elements(n.Inputs[0].Shape, layer.Stride),
            _ => 0,
        });

        long Elements(Shape w, int stride)
        {
            WeightLayout layout = w.C == 3 ? ConvFirstCuda.LayoutFor(element)
                : element != CudaElement.Float32 ? WeightLayout.Tiles(rows: 64, depth: 64)
                : ConvWinogradCuda.IsAllowed && (w.H, stride) == (3, 1) ? WeightLayout.Points(rows: 64, depth: 8) : WeightLayout.Columns;
            return layout.ElementsOf(w.N, w.H * w.W, w.C);
        }
    }

    /// <summary>The step of a launch that takes them: packed before each run where a run changes the weights, else once.</summary>
    public CudaStep StepOf(CudaLaunch run) =>
        binder.IsUpdated(weights) ? new CudaStep([Launch, run], [], [Memory]) : new CudaStep([run], [Launch], [Memory]);

    public CUdeviceptr In(WeightLayout layout)
    {
        Shape w = weights.Shape;
        (int outputs, int inputs) = use == WeightUse.Forward ? (w.N, w.C) : (w.C, w.N);
        _memory = binder.Allocate(layout.ElementsOf(outputs, w.H * w.W, inputs) * binder.Element.Bytes());
        _launch = PackWeightsCuda.Prepare(
            binder.Kernels, binder.Values(weights), _memory.DevicePointer, binder.Element, layout, outputs, w.H * w.W, inputs, use);
        return _memory.DevicePointer;
    }
}
