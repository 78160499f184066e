namespace DwrSeg.Native.Backends.Cuda;

/// <summary>A step bound to device memory: the launches and library calls that a plan puts on its stream.</summary>
/// <param name="Launches">What every run does, in order.</param>
/// <param name="Preparations">What derives from parameters alone, such as packed weights; done when these change.</param>
/// <param name="Owned">Device memory and descriptors that the step holds.</param>
internal sealed record CudaStep(IReadOnlyList<CudaWork> Launches, IReadOnlyList<CudaWork> Preparations, IReadOnlyList<IDisposable> Owned) : IDisposable
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
