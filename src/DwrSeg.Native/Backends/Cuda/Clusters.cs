using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Where blocks may form clusters that reach each other's shared memory (<c>cluster.cuh</c>): from sm_90 on.</summary>
internal static class Clusters
{
    /// <summary>Blocks of a cluster that every device with clusters has room for.</summary>
    public const int MostBlocks = 8;

    public static readonly ComputeCapability FirstArchitecture = new(9, 0);

    private static readonly Version FirstCompiler = new(11, 8);

    // 0 lets blocks share sums in global memory as on older devices.
    private static readonly bool IsAllowed = FeatureSwitch.IsOn("DWRSEG_CLUSTERS");

    public static bool AreOn(CudaDevice device) =>
        IsAllowed && device.ComputeCapability >= FirstArchitecture && Nvrtc.Instance.Version >= FirstCompiler;
}

/// <summary>Where the parts of a sum meet that blocks share. The numbers are those of <c>split_k.cuh</c>.</summary>
internal enum SumSharing
{
    None,

    /// <summary>In global memory (<see cref="SplitWorkspace"/>).</summary>
    Memory,

    /// <summary>In the shared memory of a cluster.</summary>
    Cluster,
}
