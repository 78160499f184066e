using DwrSeg.Native.Backends.Cpu.Kernels;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cpu;

/// <summary>Gives lowerings what they bind to: memory, threads and scratch.</summary>
internal sealed unsafe class StepBinder(CpuPlan plan, WorkerPool pool, Workspace workspace)
{
    private readonly HashSet<Tensor> _updated = [.. plan.Graph.Updated];

    public WorkerPool Pool => pool;

    public Workspace Workspace => workspace;

    /// <summary>Widest map of the graph; what per-channel scratch has to hold.</summary>
    public int MostChannels { get; } = plan.Graph.Tensors.Max(t => t.Shape.C);

    /// <summary>True where every run changes the values, so that nothing derived from them can be kept.</summary>
    public bool IsUpdated(TensorView view) => _updated.Contains(view.Tensor);

    /// <summary>The view's memory as an NHWC map.</summary>
    public Map Map(TensorView view)
    {
        Map all = MapOf(view.Tensor, plan.AddressOf(view.Tensor));
        return new Map(all.Data + view.Channel, all.N, all.H, all.W, view.Channels, all.PixelStride);
    }

    /// <summary>The address of a vector, of dense weights, or of a scalar: values without gaps.</summary>
    public float* Values(TensorView view)
    {
        if (!view.IsWhole && view.Tensor.Shape.Pixels != 1) throw new InvalidOperationException($"{view} is a slice where a whole tensor is needed.");
        return (float*)plan.AddressOf(view.Tensor) + view.Channel;
    }

    public byte* Bytes(TensorView view) => plan.AddressOf(view.Tensor);

    public static Map MapOf(Tensor tensor, byte* address)
    {
        Shape s = tensor.Shape;
        return new Map((float*)address, s.N, s.H, s.W, s.C, s.C);
    }

    /// <summary>Image <paramref name="index"/> of a map.</summary>
    public static Map ImageOf(Map map, int index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, map.N);
        return new Map(map.Row(index, 0), 1, map.H, map.W, map.C, map.PixelStride);
    }
}
