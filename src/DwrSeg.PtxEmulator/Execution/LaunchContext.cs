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

    /// <summary>For each block: its last atomic, or other access that tells blocks something, came after a fence behind its writes.</summary>
    public required bool[] Published { get; init; }
}
