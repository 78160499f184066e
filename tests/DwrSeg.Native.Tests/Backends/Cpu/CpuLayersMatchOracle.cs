using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cpu;

namespace DwrSeg.Native.Tests.Backends.Cpu;

/// <summary>The CPU backend against the float64 oracle.</summary>
public sealed class CpuLayersMatchOracle : LayersMatchOracle
{
    private protected override IBackend CreateBackend() => new CpuBackend(2);
}
