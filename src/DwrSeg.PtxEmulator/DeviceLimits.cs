using DwrSeg.Native.Cuda;

namespace DwrSeg.PtxEmulator;

/// <summary>What an architecture allows a launch.</summary>
/// <param name="Architecture">Compute capability, 10 · major + minor.</param>
/// <param name="SharedBytesPerBlock">Shared memory that a block can have when it opts in.</param>
/// <param name="SharedBytesPerMultiprocessor">Shared memory of a multiprocessor.</param>
/// <param name="ThreadsPerMultiprocessor">Resident threads of a multiprocessor.</param>
/// <param name="BlocksPerMultiprocessor">Resident blocks of a multiprocessor.</param>
internal sealed record DeviceLimits(
    int Architecture, uint SharedBytesPerBlock, uint SharedBytesPerMultiprocessor, uint ThreadsPerMultiprocessor,
        uint BlocksPerMultiprocessor)
{
    public const uint ThreadsPerBlock = 1024;

    /// <summary>Blocks of a cluster that every device has which has clusters at all.</summary>
    public const uint BlocksPerCluster = 8;

    /// <summary>Shared memory of a block that has not opted in to more.</summary>
    public const uint DefaultSharedBytesPerBlock = 48 << 10;

    public const uint LocalBytesPerThread = 512 << 10;

    /// <summary>32-bit registers of a multiprocessor, and the most that a block may have; the same from sm_61 to sm_90.</summary>
    public const int Registers = 65536;

    private static readonly DeviceLimits[] Known =
    [
        new(60, 48 << 10, 64 << 10, 2048, 32), new(61, 48 << 10, 96 << 10, 2048, 32), new(70, 96 << 10, 96 << 10, 2048, 32),
        new(75, 64 << 10, 64 << 10, 1024, 16), new(80, 163 << 10, 164 << 10, 2048, 32), new(86, 99 << 10, 100 << 10, 1536, 16),
        new(87, 163 << 10, 164 << 10, 1536, 16), new(89, 99 << 10, 100 << 10, 1536, 24), new(90, 227 << 10, 228 << 10, 2048, 32),
        new(100, 227 << 10, 228 << 10, 2048, 32), new(120, 99 << 10, 100 << 10, 1536, 24),
    ];

    /// <summary>The limits of an architecture; those of the newest known one before it where it is not known itself.</summary>
    public static DeviceLimits Of(int architecture) =>
        Known.LastOrDefault(l => l.Architecture <= architecture)
        ?? throw new EmulatorException(FailureKind.Architecture,
            $"sm_{architecture} is not emulated; choose sm_{Known[0].Architecture} or newer");

    /// <summary>How many blocks a multiprocessor holds at a time; 0 where not even one fits.</summary>
    /// <param name="threads">Threads of a block.</param>
    /// <param name="registers">Registers of a thread.</param>
    /// <param name="sharedBytes">Static and dynamic shared memory of a block.</param>
    public int ResidentBlocks(int threads, int registers, ulong sharedBytes)
    {
        var multiprocessor = new MultiprocessorLimits(
            ComputeCapability.FromNumber(Architecture), (int)ThreadsPerMultiprocessor, (int)BlocksPerMultiprocessor, Registers,
            (int)SharedBytesPerMultiprocessor, (int)SharedBytesPerBlock);
        return Occupancy.Of(multiprocessor, threads, registers, (long)Math.Min(sharedBytes, int.MaxValue)).Blocks;
    }
}
