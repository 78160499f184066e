namespace DwrSeg.PtxEmulator.Ptx;

/// <summary>A parsed module.</summary>
internal sealed class PtxModule
{
    /// <summary>Version of the PTX language, 10 · major + minor.</summary>
    public required int Version { get; init; }

    /// <summary>The target's compute capability, 10 · major + minor.</summary>
    public required int Architecture { get; init; }

    /// <summary>The target allows the instructions of that one architecture only (<c>sm_90a</c>).</summary>
    public bool ArchitectureSpecific { get; init; }

    public required IReadOnlyList<PtxEntry> Entries { get; init; }

    /// <summary>Variables in global and constant memory.</summary>
    public required IReadOnlyList<PtxVariable> Variables { get; init; }

    /// <summary>Reads PTX text.</summary>
    /// <exception cref="PtxLoadException">The text is not PTX, or holds a directive that the emulator does not know.</exception>
    public static PtxModule Parse(string text)
    {
        var parser = new PtxParser(text);
        try
        {
            return parser.Module();
        }
        catch (Exception failure) when (failure is FormatException or OverflowException)
        {
            throw parser.Error("a number that cannot be read");
        }
    }
}
