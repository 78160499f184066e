namespace DwrSeg.PtxEmulator.Ptx;

/// <summary>One instruction as written.</summary>
internal sealed record PtxInstruction(int Line, string Text, string Opcode, IReadOnlyList<string> Modifiers,
    IReadOnlyList<PtxOperand> Operands)
{
    /// <summary>Executed only by lanes where this holds; null for all.</summary>
    public PtxOperand? Guard { get; init; }

    /// <summary>File and line of the source; null where the module has none.</summary>
    public string? Source { get; init; }
}
