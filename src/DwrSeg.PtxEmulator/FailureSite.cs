namespace DwrSeg.PtxEmulator;

/// <summary>Where in a launch a failure happened.</summary>
/// <param name="Kernel">The entry's name.</param>
/// <param name="Line">The PTX line, from 1 on; 0 where no instruction is at fault.</param>
/// <param name="Instruction">The instruction's text.</param>
/// <param name="Source">File and line of the source where the module has line information.</param>
/// <param name="Block">The block.</param>
/// <param name="Thread">The thread.</param>
internal sealed record FailureSite(string Kernel, int Line, string Instruction, string? Source, Index3 Block, Index3 Thread);
