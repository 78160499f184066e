using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Gives lowerings what they bind to: memory, kernels and the workspace that convolutions share.</summary>
internal sealed class CudaBinder(CudaPlan plan, KernelCache kernels, CudaStream stream)
{
    private readonly HashSet<Tensor> _updated = [.. plan.Graph.Updated];
    private readonly List<IDisposable> _kept = [];

    public KernelCache Kernels => kernels;

    public CudaStream Stream => stream;

    public CudaDevice Device => kernels.Context.Device;

    /// <summary>How the plan's maps lie in memory.</summary>
    public CudaElement Element => plan.Element;

    /// <summary>Memory for sums that blocks share; grows while steps are bound, so that all have one that is large enough.</summary>
    public SplitWorkspace Workspace => plan.Workspace;

    /// <summary>True where every run changes the values, so that nothing derived from them can be kept.</summary>
    public bool IsUpdated(TensorView view) => _updated.Contains(view.Tensor);

    /// <summary>The view's memory as an NHWC map.</summary>
    public DeviceMap Map(TensorView view) => plan.MapOf(view.Tensor).Slice(view.Channel, view.Channels);

    /// <summary>The address of fp32 values without gaps: a vector, weights.</summary>
    public CUdeviceptr Values(TensorView view)
    {
        if (!view.IsWhole && view.Tensor.Shape.Pixels != 1) throw new InvalidOperationException($"{view} is a slice where a whole tensor is needed.");
        if (view.Tensor.Type == ElementType.UInt8 || (view.Tensor.Type == ElementType.Compute && !view.Tensor.IsStored))
            throw new InvalidOperationException($"{view} does not hold fp32 values.");
        return plan.AddressOf(view.Tensor) + (ulong)view.Channel * sizeof(float);
    }

    /// <summary>New device memory that a step owns.</summary>
    public CudaDeviceVariable<byte> Allocate(long bytes) => Keep(new CudaDeviceVariable<byte>(kernels.Context, bytes));

    /// <summary>Notes what a step is going to own, so that it is given back where binding fails before there is a step.</summary>
    public T Keep<T>(T owned)
        where T : IDisposable
    {
        _kept.Add(owned);
        return owned;
    }

    /// <summary>Gives back everything that was made, because there will be no plan.</summary>
    public void Release()
    {
        foreach (IDisposable owned in _kept) owned.Dispose();
    }
}
