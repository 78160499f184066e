namespace DwrSeg.PtxEmulator;

/// <summary>How launches are run.</summary>
internal sealed record EmulatorOptions
{
    /// <summary>Compute capability of the emulated device, 10 · major + minor.</summary>
    public int Architecture { get; init; } = 80;

    /// <summary>Decides the order of blocks and of warps. The same seed gives the same results, failures and counts.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>Worker threads that run blocks side by side; the results do not depend on it.</summary>
    public int Threads { get; init; } = Environment.ProcessorCount;

    /// <summary>Shared memory of a block beyond the 48 KiB that every launch may have (the opt-in attribute of the function).</summary>
    public uint MaxDynamicSharedBytes { get; init; } = uint.MaxValue;

    /// <summary>Looks for races in shared memory and between blocks, and for reads of unwritten memory.</summary>
    public bool Strict { get; init; } = true;

    /// <summary>
    /// The launch may start before these have ended, and awaits them with <c>griddepcontrol.wait</c>; null where it starts when all before it
    /// have ended.
    /// </summary>
    public IReadOnlyList<PreviousLaunch>? MayStillRun { get; init; }

    /// <summary>Basic blocks that the warps of one block may run, all together, before the launch is given up as endless.</summary>
    public long MaxSteps { get; init; } = 2_000_000_000;
}

/// <summary>An earlier launch.</summary>
/// <param name="Number">Its number on its memory.</param>
/// <param name="Kernel">The kernel.</param>
internal readonly record struct PreviousLaunch(long Number, string Kernel);
