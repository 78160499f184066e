using DwrSeg.PtxEmulator.Ptx;

namespace DwrSeg.PtxEmulator.Driver;

/// <summary>A module in a context, with its kernels.</summary>
internal sealed class DeviceModule(EmulatedContext context, LoadedModule code) : IContextObject
{
    private readonly Dictionary<string, nint> _functions = [];

    public EmulatedContext Context { get; } = context;

    public LoadedModule Code { get; } = code;

    public bool IsUnloaded { get; private set; }

    /// <summary>Handles of the kernels that were asked for, by name.</summary>
    public IDictionary<string, nint> Functions => _functions;

    public void Unload()
    {
        IsUnloaded = true;
        Code.Dispose();
    }
}

/// <summary>A kernel of a module, with what the host has set on it.</summary>
internal sealed class DeviceFunction(DeviceModule module, PtxEntry entry, int? registers) : IContextObject
{
    /// <summary>Registers of a thread where no assembler's report says: what the larger kernels tend to need.</summary>
    public const int AssumedRegisters = 64;

    private const int RegisterUnit = 8;

    public DeviceModule Module { get; } = module;

    public PtxEntry Entry { get; } = entry;

    public EmulatedContext Context => Module.Context;

    public int MaxThreadsPerBlock => (int)(Entry.MaxThreads == 0 ? DeviceLimits.ThreadsPerBlock : Entry.MaxThreads);

    public Index3? RequiredBlock => Entry.RequiredBlock;

    /// <summary>Registers of a thread: reported, or assumed within what the kernel's own bounds leave.</summary>
    public int Registers { get; } = registers ?? Assumed(entry);

    /// <summary>Dynamic shared memory that a launch may ask for; what the host has opted in to, or what is left of the 48 KiB.</summary>
    public uint MaxDynamicSharedBytes { get; private set; } =
        DeviceLimits.DefaultSharedBytesPerBlock - Math.Min(entry.StaticSharedBytes, DeviceLimits.DefaultSharedBytesPerBlock);

    /// <summary>Opts in to more (or less) dynamic shared memory; false where the architecture has not so much.</summary>
    public bool TryAllowDynamicShared(int bytes)
    {
        if (bytes < 0 || (ulong)bytes + Entry.StaticSharedBytes > Context.Model.Limits.SharedBytesPerBlock) return false;
        MaxDynamicSharedBytes = (uint)bytes;
        return true;
    }

    /// <summary>The percentage of a multiprocessor's cache that is to be shared memory; -1 leaves it to the driver. A hint only.</summary>
    public int PreferredCarveout { get; private set; } = -1;

    public bool TryPreferCarveout(int percent)
    {
        if (percent is < -1 or > 100) return false;
        PreferredCarveout = percent;
        return true;
    }

    private static int Assumed(PtxEntry entry)
    {
        ulong threads = (entry.MaxThreads == 0 ? DeviceLimits.ThreadsPerBlock : entry.MaxThreads)
            * (ulong)Math.Max(1, entry.MinBlocksPerMultiprocessor);
        int bound = (int)((ulong)DeviceLimits.Registers / threads) / RegisterUnit * RegisterUnit;
        return Math.Clamp(bound, 16, AssumedRegisters);
    }
}
