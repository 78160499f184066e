using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Where kernels may use <c>wgmma</c>, the products of four warps: sm_90 has it, neither older nor newer devices do.</summary>
internal static class Warpgroups
{
    public static readonly ComputeCapability Architecture = new(9, 0);

    // NVRTC 11.8 knows sm_90, but sm_90a only 12.0 and newer do.
    private const int FirstCompiler = 12;

    // 0 leaves all products to mma.sync.
    private static readonly bool IsAllowed = FeatureSwitch.IsOn("DWRSEG_WGMMA");

    public static bool AreOn(CudaDevice device) =>
        IsAllowed && device.ComputeCapability == Architecture && CanBeCompiled;

    /// <summary>Whether this process's NVRTC knows them.</summary>
    public static bool CanBeCompiled => Nvrtc.Instance.Version.Major >= FirstCompiler;
}
