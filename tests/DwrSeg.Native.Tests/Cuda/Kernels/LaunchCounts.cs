using DwrSeg.Native.Backends.Cuda;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

/// <summary>Claims about a launch's memory behaviour.</summary>
internal static class LaunchCounts
{
    private const int SectorBytes = 32;

    public static string Describe(CudaLaunch launch, LaunchStatistics counts)
    {
        double blockLoads = (double)counts.BlockLoadSectors * SectorBytes, stores = (double)counts.Total.GlobalStoreSectors * SectorBytes;
        return $"{launch}: {launch.Bytes} bytes, {launch.Flops} flops; loads {counts.LaunchLoadSectors * SectorBytes} bytes once a launch, "
            + $"{blockLoads} once a block; stores {stores}; {counts.Total.SharedAccesses} shared accesses, "
            + $"{counts.Total.SharedConflicts} conflicts; {counts.Total.WarpInstructions} warp instructions";
    }

    /// <summary>What an ideal second-level cache reads for the launch, against the bytes that it must read.</summary>
    public static void AssertLoadsAtMost(double times, long compulsoryBytes, LaunchStatistics counts)
    {
        double ratio = (double)counts.LaunchLoadSectors * SectorBytes / compulsoryBytes;
        Assert.True(ratio <= times, $"{counts.Kernel} reads {ratio:F2} times its {compulsoryBytes} compulsory bytes.");
    }

    /// <summary>Bytes stored, against the sectors that the warps' stores touch one by one.</summary>
    public static void AssertStoresAtLeast(double efficiency, long compulsoryBytes, LaunchStatistics counts)
    {
        double ratio = (double)compulsoryBytes / (counts.Total.GlobalStoreSectors * SectorBytes);
        Assert.True(ratio >= efficiency, $"{counts.Kernel} fills {ratio:P0} of the sectors that it stores to.");
    }

    /// <summary>Passes through shared memory that conflicts add.</summary>
    public static void AssertConflictsBelow(double share, LaunchStatistics counts)
    {
        double ratio = (double)counts.Total.SharedConflicts / Math.Max(counts.Total.SharedWavefronts, 1);
        Assert.True(ratio < share, $"{counts.Kernel}: {ratio:P1} of the passes through shared memory are bank conflicts.");
    }
}
