using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda;

/// <summary>What a multiprocessor has to give.</summary>
/// <param name="Architecture">The architecture: how its resources are handed out.</param>
/// <param name="Threads">Resident threads.</param>
/// <param name="Blocks">Resident blocks.</param>
/// <param name="Registers">32-bit registers.</param>
/// <param name="SharedBytes">Shared memory.</param>
/// <param name="SharedBytesPerBlock">Shared memory that one block can have.</param>
internal readonly record struct MultiprocessorLimits(
    ComputeCapability Architecture, int Threads, int Blocks, int Registers, int SharedBytes, int SharedBytesPerBlock)
{
    public static MultiprocessorLimits Of(CudaDevice device) => new(
        device.ComputeCapability, device[CUdeviceAttribute.MaxThreadsPerMultiprocessor], device[CUdeviceAttribute.MaxBlocksPerMultiprocessor],
        device[CUdeviceAttribute.MaxRegistersPerMultiprocessor], device[CUdeviceAttribute.MaxSharedMemoryPerMultiprocessor],
        device.MaxSharedBytesPerBlock);
}

/// <summary>What keeps a multiprocessor from holding one more block.</summary>
internal enum OccupancyLimit
{
    Warps,
    Blocks,
    Registers,
    SharedMemory,
}

/// <summary>How many blocks of a kernel a multiprocessor holds at a time, and what binds.</summary>
/// <param name="Blocks">Resident blocks; 0 where not even one fits.</param>
/// <param name="Warps">Their warps.</param>
/// <param name="Limit">What binds; of several the first in the enumeration's order.</param>
internal readonly record struct Occupancy(int Blocks, int Warps, OccupancyLimit Limit)
{
    private const int WarpThreads = 32, RegistersPerUnit = 256, WarpsPerUnit = 4, MostThreadsOfBlock = 1024;

    /// <summary>Counts as the driver does.</summary>
    /// <param name="limits">The multiprocessor.</param>
    /// <param name="threads">Threads of a block.</param>
    /// <param name="registers">Registers of a thread; 0 where they are not known and shall not bind.</param>
    /// <param name="sharedBytes">Static and dynamic shared memory of a block.</param>
    public static Occupancy Of(in MultiprocessorLimits limits, int threads, int registers, long sharedBytes)
    {
        int warps = (threads + WarpThreads - 1) / WarpThreads;
        if (warps == 0 || threads > MostThreadsOfBlock) return new Occupancy(0, 0, OccupancyLimit.Warps);
        var occupancy = new Occupancy(limits.Threads / WarpThreads / warps, 0, OccupancyLimit.Warps);
        Bind(OccupancyLimit.Blocks, limits.Blocks);
        if (registers > 0)
        {
            // A warp's registers are handed out in units of 256, and each of the four schedulers has its own quarter of the file.
            int perWarp = RoundUp(registers * WarpThreads, RegistersPerUnit);
            Bind(OccupancyLimit.Registers, limits.Registers / perWarp / WarpsPerUnit * WarpsPerUnit / warps);
        }
        long shared = SharedOfBlock(limits.Architecture, sharedBytes);
        if (sharedBytes > limits.SharedBytesPerBlock) Bind(OccupancyLimit.SharedMemory, 0);
        else if (shared > 0) Bind(OccupancyLimit.SharedMemory, (int)(limits.SharedBytes / shared));
        return occupancy with { Warps = occupancy.Blocks * warps };

        void Bind(OccupancyLimit limit, int blocks)
        {
            if (blocks < occupancy.Blocks) occupancy = new Occupancy(blocks, 0, limit);
        }
    }

    // From sm_80 on the system keeps 1 KiB of each block, and units are finer.
    private static long SharedOfBlock(ComputeCapability architecture, long bytes)
    {
        bool ampere = architecture.Major >= 8;
        long unit = ampere ? 128 : 256, kept = ampere ? 1024 : 0;
        return (bytes + kept + unit - 1) / unit * unit;
    }

    private static int RoundUp(int value, int unit) => (value + unit - 1) / unit * unit;
}
