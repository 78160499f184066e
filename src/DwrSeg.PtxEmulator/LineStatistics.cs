namespace DwrSeg.PtxEmulator;

/// <summary>Counts of one instruction.</summary>
/// <param name="Line">Its PTX line.</param>
/// <param name="Text">Its text.</param>
/// <param name="Source">File and line of the source, where the module has line information.</param>
/// <param name="Class">Its class.</param>
/// <param name="Counters">The counts.</param>
internal sealed record LineStatistics(int Line, string Text, string? Source, InstructionClass Class, Counters Counters);
