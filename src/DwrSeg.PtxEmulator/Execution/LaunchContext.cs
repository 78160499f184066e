using DwrSeg.PtxEmulator.Memory;

namespace DwrSeg.PtxEmulator.Execution;

/// <summary>What all blocks of a launch share.</summary>
internal sealed class LaunchContext
{
    public required DeviceMemory Memory { get; init; }

    public required LaunchShape Shape { get; init; }

    public required EmulatorOptions Options { get; init; }

    public required int Architecture { get; init; }

    /// <summary>The parameters' bytes, with a margin for reads of their last bytes.</summary>
    public required byte[] Parameters { get; init; }

    public required uint SharedBytes { get; init; }

    /// <summary>The launch's number on its memory, and its tag there.</summary>
    public required long Launch { get; init; }

    public required uint Tag { get; init; }

    /// <summary>Launches that may still be running, until a thread awaits them; null where the launch was not started beside any.</summary>
    public IReadOnlyList<PreviousLaunch>? MayStillRun { get; init; }

    /// <summary>For each tag of memory whether it is that of a launch that may still be running.</summary>
    public required bool[] TagsStillRunning { get; init; }

    /// <summary>For each block: its last atomic, or other access that tells blocks something, came after a fence behind its writes.</summary>
    public required bool[] Published { get; init; }
}
