using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.PtxEmulator.Driver;

/// <summary>Which status a device would report for a failure that the emulator found.</summary>
internal static class FailureStatus
{
    public static CUresult Of(FailureKind kind) => kind switch
    {
        FailureKind.OutOfBounds or FailureKind.UseAfterFree or FailureKind.UnwrittenRead or FailureKind.RegionOverrun
            or FailureKind.DeadRegion or FailureKind.ReadOnly or FailureKind.InvalidAddress => CUresult.IllegalAddress,
        FailureKind.Misaligned => CUresult.MisalignedAddress,
        FailureKind.Deadlock => CUresult.LaunchTimeout,
        FailureKind.LaunchLimit => CUresult.LaunchOutOfResources,
        FailureKind.StackLimit => CUresult.HardwareStackError,
        FailureKind.InvalidOperation or FailureKind.Architecture => CUresult.IllegalInstruction,
        _ => CUresult.LaunchFailed,
    };
}
