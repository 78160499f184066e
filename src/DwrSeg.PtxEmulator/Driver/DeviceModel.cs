using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.PtxEmulator.Driver;

/// <summary>An emulated GPU: the limits of its architecture, and the numbers of a well-known card of that architecture.</summary>
/// <param name="Architecture">Compute capability, 10 · major + minor.</param>
/// <param name="Multiprocessors">Multiprocessors of the card.</param>
/// <param name="ClockMhz">Its boost clock.</param>
/// <param name="MemoryClockMhz">Its memory's clock; data moves twice a cycle.</param>
/// <param name="BusBits">Width of its memory bus.</param>
/// <param name="L2KiB">Its second-level cache.</param>
internal sealed record DeviceModel(int Architecture, int Multiprocessors, int ClockMhz, int MemoryClockMhz, int BusBits, int L2KiB)
{
    private static readonly DeviceModel[] Cards =
    [
        new(61, 28, 1582, 5505, 352, 2816),     // GTX 1080 Ti
        new(75, 68, 1545, 7000, 352, 5632),     // RTX 2080 Ti
        new(80, 108, 1410, 1215, 5120, 40960),  // A100
        new(86, 82, 1695, 9751, 384, 6144),     // RTX 3090
        new(89, 128, 2520, 10501, 384, 73728),  // RTX 4090
        new(90, 132, 1980, 2619, 5120, 51200),  // H100 SXM
    ];

    /// <summary>Memory of the device. Not the card's own: the host must hold it.</summary>
    public ulong MemoryBytes { get; init; } = 8ul << 30;

    public string Name => $"emulated sm_{Architecture}";

    public DeviceLimits Limits => DeviceLimits.Of(Architecture);

    /// <summary>The architectures that can be chosen.</summary>
    public static IEnumerable<int> Architectures => Cards.Select(c => c.Architecture);

    /// <summary>The device of a compute capability.</summary>
    /// <exception cref="ArgumentException">It is not in the table.</exception>
    public static DeviceModel Of(int architecture) =>
        Array.Find(Cards, c => c.Architecture == architecture)
        ?? throw new ArgumentException($"no emulated device has sm_{architecture}; choose one of {string.Join(", ", Architectures)}",
            nameof(architecture));

    /// <summary>A property; null for one that the emulator does not know.</summary>
    public int? Attribute(CUdeviceAttribute attribute) => attribute switch
    {
        CUdeviceAttribute.MaxThreadsPerBlock => (int)DeviceLimits.ThreadsPerBlock,
        CUdeviceAttribute.MaxBlockDimX or CUdeviceAttribute.MaxBlockDimY => LaunchLimits.MaxBlockXY,
        CUdeviceAttribute.MaxBlockDimZ => LaunchLimits.MaxBlockZ,
        CUdeviceAttribute.MaxGridDimX => LaunchLimits.MaxGridX,
        CUdeviceAttribute.MaxGridDimY or CUdeviceAttribute.MaxGridDimZ => LaunchLimits.MaxGridYZ,
        CUdeviceAttribute.MaxSharedMemoryPerBlock => (int)DeviceLimits.DefaultSharedBytesPerBlock,
        CUdeviceAttribute.WarpSize => 32,
        CUdeviceAttribute.MaxRegistersPerBlock or CUdeviceAttribute.MaxRegistersPerMultiprocessor => DeviceLimits.Registers,
        CUdeviceAttribute.ClockRateKhz => ClockMhz * 1000,
        CUdeviceAttribute.MultiprocessorCount => Multiprocessors,
        CUdeviceAttribute.Integrated => 0,
        CUdeviceAttribute.MemoryClockRateKhz => MemoryClockMhz * 1000,
        CUdeviceAttribute.GlobalMemoryBusWidthBits => BusBits,
        CUdeviceAttribute.L2CacheBytes => L2KiB * 1024,
        CUdeviceAttribute.MaxThreadsPerMultiprocessor => (int)Limits.ThreadsPerMultiprocessor,
        CUdeviceAttribute.ComputeCapabilityMajor => Architecture / 10,
        CUdeviceAttribute.ComputeCapabilityMinor => Architecture % 10,
        CUdeviceAttribute.MaxSharedMemoryPerMultiprocessor => (int)Limits.SharedBytesPerMultiprocessor,
        CUdeviceAttribute.MaxSharedMemoryPerBlockOptin => (int)Limits.SharedBytesPerBlock,
        CUdeviceAttribute.MaxBlocksPerMultiprocessor => (int)Limits.BlocksPerMultiprocessor,
        CUdeviceAttribute.MemoryPoolsSupported => 1,
        _ => null,
    };
}
