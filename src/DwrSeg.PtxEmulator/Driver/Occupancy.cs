namespace DwrSeg.PtxEmulator.Driver;

/// <summary>How many blocks of a kernel a multiprocessor holds at a time.</summary>
internal static class Occupancy
{
    /// <summary>32-bit registers of a multiprocessor, and the most that a block may have; the same from sm_61 to sm_90.</summary>
    public const int Registers = 65536;

    private const int RegistersPerUnit = 256;
    private const int WarpsPerUnit = 4;

    /// <summary>Resident blocks; 0 where not even one fits.</summary>
    /// <param name="limits">The architecture.</param>
    /// <param name="threads">Threads of a block.</param>
    /// <param name="registers">Registers of a thread.</param>
    /// <param name="sharedBytes">Static and dynamic shared memory of a block.</param>
    public static int Blocks(DeviceLimits limits, int threads, int registers, ulong sharedBytes)
    {
        int warps = (threads + 31) / 32;
        if (warps == 0 || threads > DeviceLimits.ThreadsPerBlock || sharedBytes > limits.SharedBytesPerBlock) return 0;
        int blocks = Math.Min((int)limits.BlocksPerMultiprocessor, (int)limits.ThreadsPerMultiprocessor / 32 / warps);
        if (registers > 0)
        {
            // A warp's registers are handed out in units of 256, and each of the four schedulers has its own quarter of the file.
            int perWarp = (registers * 32 + RegistersPerUnit - 1) / RegistersPerUnit * RegistersPerUnit;
            int warpsThatFit = Registers / perWarp / WarpsPerUnit * WarpsPerUnit;
            blocks = Math.Min(blocks, warpsThatFit / warps);
        }
        ulong shared = SharedOfBlock(limits, sharedBytes);
        if (shared > 0) blocks = Math.Min(blocks, (int)(limits.SharedBytesPerMultiprocessor / shared));
        return blocks;
    }

    // From sm_80 on the system keeps 1 KiB of each block, and units are finer.
    private static ulong SharedOfBlock(DeviceLimits limits, ulong bytes)
    {
        bool ampere = limits.Architecture >= 80;
        ulong unit = ampere ? 128ul : 256ul;
        return ((ampere ? bytes + 1024 : bytes) + unit - 1) / unit * unit;
    }
}
