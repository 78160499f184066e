using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Where the tensors of a graph lie, and the scratch memory of its steps.</summary>
internal interface ITensorPlaces
{
    /// <summary>Where a tensor's first element lies.</summary>
    CUdeviceptr AddressOf(Tensor tensor);

    /// <summary>A tensor as a map; vectors and weights are maps of fp32.</summary>
    DeviceMap MapOf(Tensor tensor);

    /// <summary>Memory for sums that blocks share.</summary>
    SplitWorkspace Workspace { get; }

    /// <summary>Memory for library calls.</summary>
    LibraryWorkspace LibraryWorkspace { get; }
}

/// <summary>Gives lowerings what they bind to: memory, kernels, libraries and the workspaces that convolutions share.</summary>
/// <param name="graph">The graph.</param>
/// <param name="places">Where its tensors lie.</param>
/// <param name="kernels">Kernels of the device.</param>
/// <param name="stream">What steps will run on.</param>
/// <param name="element">How the plan's maps lie in memory.</param>
/// <param name="libraries">Whom convolutions may be given to.</param>
internal sealed class CudaBinder(
    LayerGraph graph, ITensorPlaces places, KernelCache kernels, CudaStream stream, CudaElement element, ConvolutionLibraries libraries)
{
    private readonly HashSet<Tensor> _updated = [.. graph.Updated];
    private readonly List<IDisposable> _kept = [];

    public KernelCache Kernels => kernels;

    public CudaStream Stream => stream;

    public CudaDevice Device => kernels.Context.Device;

    /// <summary>How the plan's maps lie in memory.</summary>
    public CudaElement Element => element;

    /// <summary>Memory for sums that blocks share.</summary>
    public SplitWorkspace Workspace => places.Workspace;

    /// <summary>Whom convolutions may be given to.</summary>
    public ConvolutionLibraries Libraries => libraries;

    /// <summary>Memory for library calls.</summary>
    public LibraryWorkspace LibraryWorkspace => places.LibraryWorkspace;

    /// <summary>True where every run changes the values, so that nothing derived from them can be kept.</summary>
    public bool IsUpdated(TensorView view) => _updated.Contains(view.Tensor);

    /// <summary>The view's memory as an NHWC map.</summary>
    public DeviceMap Map(TensorView view) => places.MapOf(view.Tensor).Slice(view.Channel, view.Channels);

    /// <summary>The address of fp32 values without gaps: a vector, weights.</summary>
    public CUdeviceptr Values(TensorView view)
    {
        if (!view.IsWhole && view.Tensor.Shape.Pixels != 1) throw new InvalidOperationException($"{view} is a slice where a whole tensor is needed.");
        if (view.Tensor.Type == ElementType.UInt8 || (view.Tensor.Type == ElementType.Compute && !view.Tensor.IsStored))
            throw new InvalidOperationException($"{view} does not hold fp32 values.");
        return places.AddressOf(view.Tensor) + (ulong)view.Channel * sizeof(float);
    }

    /// <summary>The address of bytes without gaps: labels.</summary>
    public CUdeviceptr Bytes(TensorView view)
    {
        if (!view.IsWhole || view.Tensor.Type != ElementType.UInt8) throw new InvalidOperationException($"{view} is not a whole tensor of bytes.");
        return places.AddressOf(view.Tensor);
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
