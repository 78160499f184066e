using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Where kernels may use <c>wgmma</c>, the products of four warps: sm_90 has it, neither older nor newer devices do.</summary>
internal static class Warpgroups
{
    public static readonly ComputeCapability Architecture = new(9, 0);

    // NVRTC 11.8 knows sm_90, but sm_90a only 12.0 and newer do.
    private const int FirstCompiler = 12;

    public static bool AreOn(CudaDevice device) => device.ComputeCapability == Architecture && Nvrtc.Instance.Version.Major >= FirstCompiler;
}
