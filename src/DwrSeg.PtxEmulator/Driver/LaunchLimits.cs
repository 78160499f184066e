using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.PtxEmulator.Driver;

/// <summary>The limits of launches that are the same on every architecture, and the check of a configuration against all of them.</summary>
internal static class LaunchLimits
{
    public const int MaxGridX = int.MaxValue;
    public const int MaxGridYZ = 65535;
    public const int MaxBlockXY = 1024;
    public const int MaxBlockZ = 64;

    /// <summary>What is wrong with a launch; <see cref="CUresult.Success"/> and null where nothing is.</summary>
    public static (CUresult Status, string? Problem) Check(in LaunchConfiguration c, DeviceFunction function, DeviceModel device)
    {
        if (c.GridX == 0 || c.GridY == 0 || c.GridZ == 0 || c.BlockX == 0 || c.BlockY == 0 || c.BlockZ == 0)
            return Wrong("a grid and a block have at least one in each dimension");
        if (c.GridX > MaxGridX || c.GridY > MaxGridYZ || c.GridZ > MaxGridYZ)
            return Wrong($"a grid has at most {MaxGridX} x {MaxGridYZ} x {MaxGridYZ} blocks");
        if (c.BlockX > MaxBlockXY || c.BlockY > MaxBlockXY || c.BlockZ > MaxBlockZ)
            return Wrong($"a block has at most {MaxBlockXY} x {MaxBlockXY} x {MaxBlockZ} threads");
        ulong threads = (ulong)c.BlockX * c.BlockY * c.BlockZ;
        if (threads > DeviceLimits.ThreadsPerBlock) return Wrong($"{threads} threads a block, of at most {DeviceLimits.ThreadsPerBlock}");
        if (threads > (ulong)function.MaxThreadsPerBlock)
            return Wrong($"{threads} threads a block, where the kernel is compiled for at most {function.MaxThreadsPerBlock}");
        if (function.RequiredBlock is Index3 required && required != new Index3(c.BlockX, c.BlockY, c.BlockZ))
            return Wrong($"the kernel is compiled for blocks of exactly {required}");
        if (c.DynamicSharedBytes > function.MaxDynamicSharedBytes)
        {
            return Wrong($"{c.DynamicSharedBytes} bytes of dynamic shared memory, where the function may have " +
                $"{function.MaxDynamicSharedBytes} (MaxDynamicSharedSizeBytes opts in to more)");
        }
        uint registers = (uint)function.Registers * (uint)threads;
        if (registers > DeviceLimits.Registers)
            return (CUresult.LaunchOutOfResources, $"a block needs {registers} registers, of {DeviceLimits.Registers}");
        if (c.OverlapsPrevious && device.Architecture < 90)
            return (CUresult.NotSupported, $"sm_{device.Architecture} does not overlap launches of a stream");
        return CheckCluster(c, function, device);
    }

    /// <summary>Blocks of a cluster: what the launch says, else what the kernel is compiled for.</summary>
    public static uint ClusterOf(in LaunchConfiguration c, DeviceFunction function) =>
        c.ClusterX > 1 ? c.ClusterX : Math.Max(1, function.Entry.RequiredCluster);

    private static (CUresult Status, string? Problem) CheckCluster(in LaunchConfiguration c, DeviceFunction function, DeviceModel device)
    {
        uint blocks = ClusterOf(c, function);
        if (blocks > 1 && device.Architecture < 90) return (CUresult.NotSupported, $"sm_{device.Architecture} has no clusters");
        if (blocks > DeviceLimits.BlocksPerCluster) return Wrong($"a cluster has at most {DeviceLimits.BlocksPerCluster} blocks");
        if (c.GridX % blocks != 0) return Wrong($"{c.GridX} blocks in x are no multiple of the cluster's {blocks}");
        return function.Entry.ClusterProblem(blocks) is { } problem ? Wrong(problem) : (CUresult.Success, null);
    }

    private static (CUresult Status, string? Problem) Wrong(string problem) => (CUresult.InvalidValue, problem);
}
