using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

/// <summary>Launches whose blocks share sums, in memory of their own.</summary>
internal static class SharedSums
{
    /// <summary>
    /// Runs a launch that is prepared for the memory it asks for, twice with what <paramref name="reset"/> does before: counters are left at zero,
    /// and both runs give the same bits.
    /// </summary>
    public static CudaLaunch RunTwice(
        KernelDevice device, (long PartialBytes, int Tiles) need, Func<SplitWorkspace, CudaLaunch> prepare, Action reset, Func<double[]> read)
    {
        int tiles = Math.Max(need.Tiles, 1);
        (CudaDeviceVariable<uint> memory, SplitWorkspace workspace) = SplitWorkspace.Allocate(device.Stream, need.PartialBytes, tiles);
        using (memory)
        {
            CudaLaunch launch = prepare(workspace);
            Assert.Equal(need.Tiles > 0, launch.Grid.X > 1);
            reset();
            device.Run(launch);
            double[] first = read();
            reset();
            device.Run(launch);
            Assert.Equal(first, read());
            Assert.All(memory.ToArray(device.Stream)[^tiles..], c => Assert.Equal(0u, c));
            return launch;
        }
    }

    /// <summary>Counts a launch that is prepared for the memory it asks for.</summary>
    public static LaunchStatistics Count(KernelDevice device, (long PartialBytes, int Tiles) need, Func<SplitWorkspace, CudaLaunch> prepare)
    {
        int tiles = Math.Max(need.Tiles, 1);
        (CudaDeviceVariable<uint> memory, SplitWorkspace workspace) = SplitWorkspace.Allocate(device.Stream, need.PartialBytes, tiles);
        using (memory) return device.Count(prepare(workspace));
    }
}
