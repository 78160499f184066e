namespace DwrSeg.PtxEmulator.Driver;

/// <summary>What an emulated driver finds, and how it orders work.</summary>
internal sealed record EmulatedDriverOptions
{
    /// <summary>The devices, in the order of their numbers.</summary>
    public IReadOnlyList<DeviceModel> Devices { get; init; } = [DeviceModel.Of(90)];

    /// <summary>1000 · major + 10 · minor of the CUDA that the driver knows; it refuses newer PTX. Null for a driver newer than any NVRTC.</summary>
    public int? DriverVersion { get; init; }

    /// <summary>
    /// Decides the order of independent streams and, with a kernel's name and launch shape, that of its blocks and warps. The same seed gives the
    /// same results.
    /// </summary>
    public int Seed { get; init; } = 1;

    /// <summary>
    /// How likely it is, from 0 to 1, that work which nobody waits for runs before work which somebody does. At 0 nothing runs before it
    /// must, so that a read without a wait finds old data; above, a write that should have waited for a reader comes early.
    /// </summary>
    public double Eagerness { get; init; }

    /// <summary>Host memory that can be pinned.</summary>
    public ulong PinnableBytes { get; init; } = 2ul << 30;

    /// <summary>Looks for races and for reads of unwritten memory.</summary>
    public bool Strict { get; init; } = true;

    /// <summary>Worker threads that run blocks side by side.</summary>
    public int Threads { get; init; } = Environment.ProcessorCount;

    /// <summary>
    /// What a launch takes on the device's clock, in milliseconds, other work taking none; null for the host's time, which tells nothing of a device.
    /// </summary>
    public Func<LaunchStatistics, double>? LaunchMilliseconds { get; init; }

    /// <summary>Launches that the log keeps; older ones are dropped.</summary>
    public int MaxLaunches { get; init; } = 4096;

    /// <summary>Keeps <see cref="EmulatedDriver.Order"/>.</summary>
    public bool LogsOrder { get; init; }

    /// <summary>
    /// Registers of kernels by entry name, from an assembler's report. PTX does not tell them: a kernel that is not listed has
    /// <see cref="DeviceFunction.AssumedRegisters"/>, or fewer where its bounds ask for it.
    /// </summary>
    public IReadOnlyDictionary<string, int> Registers { get; init; } = new Dictionary<string, int>();
}
