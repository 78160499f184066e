namespace DwrSeg.PtxEmulator;

/// <summary>PTX text that the emulator cannot load; the message holds line and text.</summary>
internal sealed class PtxLoadException(int line, string text, string problem)
    : Exception($"PTX line {line}: {problem}\n  {text.Trim()}")
{
    /// <summary>The line, from 1 on.</summary>
    public int Line { get; } = line;

    /// <summary>The line's text.</summary>
    public string Text { get; } = text.Trim();
}
