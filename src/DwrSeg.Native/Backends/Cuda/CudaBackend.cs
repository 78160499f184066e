using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// Executes layer graphs with this project's CUDA kernels, dense convolutions also with cuDNN and cuBLASLt: activations in fp16, bf16 or fp32 (those
/// of a training step in fp32), parameters in fp32, sums in fp32. A plan is captured once as a CUDA graph and replayed.
/// </summary>
internal sealed class CudaBackend : IBackend
{
    private readonly CudaContext _context;
    private readonly KernelCache _kernels;
    private readonly CudaElement _element;
    private readonly ConvolutionLibraries _libraries;
    private readonly TimedChoices _choices;

    /// <param name="name">What the user calls the device.</param>
    /// <param name="driver">The driver, real or emulated.</param>
    /// <param name="ordinal">The device's number.</param>
    /// <param name="element">How maps lie in memory.</param>
    /// <param name="wantsPtx">Kernels are loaded as PTX: for the emulator.</param>
    /// <param name="convolutions">Whose code computes dense convolutions.</param>
    /// <param name="libraries">What else there is for them; null for none.</param>
    /// <param name="choices">What was found to be fastest; null for the user's on the disk.</param>
    /// <exception cref="CudaException">The device can't be opened.</exception>
    /// <exception cref="DeviceUnavailableException">The device has no arithmetic of this type, or a library that is asked for is missing.</exception>
    public CudaBackend(
        string name, ICudaDriver driver, int ordinal, CudaElement element, bool wantsPtx = false,
        ConvolutionChoice convolutions = ConvolutionChoice.Auto, ConvolutionLibraries.Found? libraries = null, TimedChoices? choices = null)
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
            _libraries = new ConvolutionLibraries(_context, convolutions, libraries);
            _choices = choices ?? TimedChoices.ForUser(Notices.Tell);
            _kernels = new KernelCache(_context, Nvrtc.Instance, wantsPtx, disk: KernelDiskCache.ForUser(Notices.Tell));
        }
        catch
        {
            _libraries?.Dispose();
            _context.Dispose();
            throw;
        }
    }

    public string Name { get; }

    public string Description =>
        $"{_context.Device.Name}, sm_{_context.Device.ComputeCapability.Number}, {_element.KernelName()}"
        + (_libraries.Description.Length == 0 ? "" : $", {_libraries.Description}");

    public Precision Precision => _element switch
    {
        CudaElement.Float32 => Precision.Float32,
        CudaElement.Float16 => Precision.Float16,
        _ => Precision.BFloat16,
    };

    /// <summary>
    /// The device, on which kernels are chosen by time. Choices are remembered beside the compiled kernels: without them, or with other versions of driver,
    /// NVRTC or libraries, a result's last bits may be others.
    /// </summary>
    public string Arithmetic => $"{_context.Device.Name}, sm_{_context.Device.ComputeCapability.Number}, {_element.KernelName()}";

    /// <summary>Kernels compiled for the device.</summary>
    public KernelCache Kernels => _kernels;

    /// <summary>What was found to be fastest on the device.</summary>
    public TimedChoices Choices => _choices;

    public ITensorStore CreateStore() => new CudaStore(_context);

    public IPlan Compile(LayerGraph graph, ITensorStore store, PlanOptions? options = null)
    {
        if (store is not CudaStore cudaStore) throw new ArgumentException("The store belongs to another backend.", nameof(store));
        var chooser = new CoverChooser(_kernels, _element, _libraries, _choices);
        while (true)
        {
            try
            {
                return new CudaPlan(graph, cudaStore, _kernels, _element, _libraries, chooser, options ?? new PlanOptions());
            }
            catch (CudaException e)
            {
                // A way that was remembered, or that memory of its own suited better, may fail in the plan. Each round leaves less to choose from.
                if (!chooser.ChoosesAgain(e)) throw;
            }
        }
    }

    public IFrameQueue CreateFrameQueue(int capacity) => new CudaFrameQueue(_kernels, capacity);

    public void Dispose()
    {
        _libraries.Dispose();
        _kernels.Dispose();
        _context.Dispose();
    }
}
