using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>A convolution's weights on their way to the kernel that takes them: the memory, and the launch that fills it.</summary>
internal sealed class PackedWeights(CudaBinder binder, Node conv)
{
    private CudaLaunch? _launch;
    private CudaDeviceVariable<byte>? _memory;

    /// <summary>What fills them, once a kernel has said how it wants them.</summary>
    public CudaLaunch Launch => _launch ?? throw new InvalidOperationException($"No kernel has asked for the weights of '{conv.Name}'.");

    public CudaDeviceVariable<byte> Memory => _memory ?? throw new InvalidOperationException($"No kernel has asked for the weights of '{conv.Name}'.");

    /// <summary>What the weights of a graph take about: the layouts are the kernels' choice, and most take tiles of this size.</summary>
    public static long BytesOf(LayerGraph graph, CudaElement element)
    {
        return element.Bytes() * graph.Nodes.Where(n => n.Layer is Conv2d).Sum(n =>
        {
            Shape w = n.Inputs[1].Shape;
            WeightLayout layout = w.C == 3 ? ConvFirstCuda.LayoutFor(element)
                : element != CudaElement.Float32 ? WeightLayout.Tiles(rows: 64, depth: 64)
                : n.Layer is Conv2d { Kernel: 3, Stride: 1 } ? WeightLayout.Points(rows: 64, depth: 8) : WeightLayout.Columns;
            return layout.ElementsOf(w.N, w.H * w.W, w.C);
        });
    }

    public CUdeviceptr In(WeightLayout layout)
    {
        Shape w = conv.Inputs[1].Shape;
        _memory = binder.Allocate(layout.ElementsOf(w.N, w.H * w.W, w.C) * binder.Element.Bytes());
        _launch = PackWeightsCuda.Prepare(
            binder.Kernels, binder.Values(conv.Inputs[1]), _memory.DevicePointer, binder.Element, layout, w.N, w.H * w.W, w.C);
        return _memory.DevicePointer;
    }
}
