using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// Puts works on a stream one after another, each beginning while the one before it ends where both can (<c>overlap.cuh</c>): the launch, the addresses
/// and the first weights of a kernel then cost little time of their own. The first waits for all that the stream did before.
/// </summary>
internal sealed class LaunchSequence(CudaStream stream, bool overlaps = true)
{
    // Captured launches keep the attribute since then.
    private static readonly Version FirstDriver = new(12, 3);

    private static readonly ComputeCapability FirstArchitecture = new(9, 0);

    /// <summary>Whether launches overlap where they can; <c>DWRSEG_OVERLAP=0</c> lets each wait for the end of the one before it.</summary>
    public static readonly bool IsAllowed = FeatureSwitch.IsOn("DWRSEG_OVERLAP");

    private bool _canOverlap;

    public void Add(CudaWork work)
    {
        work.Launch(stream, overlapsPrevious: overlaps && _canOverlap && work.CanOverlap);
        _canOverlap = work.CanOverlap;
    }

    /// <summary>Whether launches of such kernels can overlap: the driver must know how, and the code must be for devices that do.</summary>
    public static bool CanOverlap(KernelCache kernels, KernelVariant variant) =>
        IsAllowed && kernels.Target.Architecture >= FirstArchitecture && variant.AwaitsPrevious
        && NvrtcNeeds.VersionOf(kernels.Context.Driver) >= FirstDriver;
}
