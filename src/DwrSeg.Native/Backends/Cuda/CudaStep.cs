using DwrSeg.Native.Cuda;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>A step bound to device memory: the launches that a plan puts on its stream.</summary>
/// <param name="Launches">What every run does, in order.</param>
/// <param name="Preparations">What derives from parameters alone, such as packed weights; done when these change.</param>
/// <param name="Owned">Device memory that the step holds.</param>
internal sealed record CudaStep(IReadOnlyList<CudaLaunch> Launches, IReadOnlyList<CudaLaunch> Preparations, IReadOnlyList<IDisposable> Owned) : IDisposable
{
    public CudaStep(CudaLaunch launch)
        : this([launch], [], [])
    {
    }

    public void Dispose()
    {
        foreach (IDisposable memory in Owned) memory.Dispose();
    }
}
