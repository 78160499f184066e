using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// Executes inference graphs with this project's CUDA kernels: activations in fp16, bf16 or fp32, parameters in fp32, sums in fp32. A plan is
/// captured once as a CUDA graph and replayed.
/// </summary>
internal sealed class CudaBackend : IBackend
{
    private readonly CudaContext _context;
    private readonly KernelCache _kernels;
    private readonly CudaElement _element;

    /// <param name="name">What the user calls the device.</param>
    /// <param name="driver">The driver, real or emulated.</param>
    /// <param name="ordinal">The device's number.</param>
    /// <param name="element">How maps lie in memory.</param>
    /// <param name="wantsPtx">Kernels are loaded as PTX: for the emulator.</param>
    /// <exception cref="CudaException">The device can't be opened.</exception>
    /// <exception cref="DeviceUnavailableException">The device has no arithmetic of this type.</exception>
    public CudaBackend(string name, ICudaDriver driver, int ordinal, CudaElement element, bool wantsPtx = false)
    {
        (Name, _element) = (name, element);
        _context = new CudaContext(driver, ordinal);
        try
        {
            if (element.FirstArchitecture() > _context.Device.ComputeCapability)
            {
                throw new DeviceUnavailableException(
                    $"{_context.Device} does not compute in {element.KernelName()}, which needs sm_{element.FirstArchitecture().Number}; ask for fp32.");
            }
            _kernels = new KernelCache(_context, Nvrtc.Instance, wantsPtx, disk: KernelDiskCache.ForUser());
        }
        catch
        {
            _context.Dispose();
            throw;
        }
    }

    public string Name { get; }

    public string Description => $"{_context.Device.Name}, sm_{_context.Device.ComputeCapability.Number}, {_element.KernelName()}";

    public Precision Precision => _element switch
    {
        CudaElement.Float32 => Precision.Float32,
        CudaElement.Float16 => Precision.Float16,
        _ => Precision.BFloat16,
    };

    /// <summary>Kernels compiled for the device.</summary>
    public KernelCache Kernels => _kernels;

    public ITensorStore CreateStore() => new CudaStore(_context);

    public IPlan Compile(LayerGraph graph, ITensorStore store, PlanOptions? options = null)
    {
        if (store is not CudaStore cudaStore) throw new ArgumentException("The store belongs to another backend.", nameof(store));
        return new CudaPlan(graph, cudaStore, _kernels, _element, options ?? new PlanOptions());
    }

    public IFrameQueue CreateFrameQueue(int capacity) => new CudaFrameQueue(_kernels, capacity);

    public void Dispose()
    {
        _kernels.Dispose();
        _context.Dispose();
    }
}
