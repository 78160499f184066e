namespace DwrSeg.Native.Backends.Cpu;

/// <summary>A step bound to memory: what <see cref="CpuPlan"/> calls.</summary>
/// <param name="Run">Does the step's work; allocates nothing.</param>
/// <param name="Prepare">Derives what depends on parameters alone, such as packed weights; null where there is nothing.</param>
/// <param name="Kernel">Native memory that the step owns.</param>
internal sealed record CpuStep(Action Run, Action? Prepare = null, IDisposable? Kernel = null) : IDisposable
{
    public void Dispose() => Kernel?.Dispose();
}
