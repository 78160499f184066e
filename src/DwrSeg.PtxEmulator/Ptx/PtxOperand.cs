namespace DwrSeg.PtxEmulator.Ptx;

internal enum OperandKind
{
    Register,
    Immediate,
    Symbol,
    Special,
    Address,
    Vector,
    Pair,
    Label,
    Sink,
}

/// <summary>One operand of an instruction, as written.</summary>
internal sealed record PtxOperand(OperandKind Kind)
{
    /// <summary>The register, or an address's base where that is a register.</summary>
    public PtxRegister? Register { get; init; }

    /// <summary>A predicate with an exclamation mark.</summary>
    public bool Negated { get; init; }

    /// <summary>An integer's value, or a floating-point constant's bits.</summary>
    public long Value { get; init; }

    /// <summary>The type of a floating-point constant; null for integers.</summary>
    public PtxType? FloatType { get; init; }

    /// <summary>Name of a symbol, a special register or a label; an address's base where that is a symbol.</summary>
    public string Name { get; init; } = "";

    /// <summary>The variable that <see cref="Name"/> means.</summary>
    public PtxVariable? Variable { get; init; }

    /// <summary>What is added to the base of an address or to a symbol.</summary>
    public long Offset { get; init; }

    /// <summary>Elements of a vector or of a pair; the coordinates of a tensor address.</summary>
    public IReadOnlyList<PtxOperand> Elements { get; init; } = [];
}

/// <summary>A virtual register.</summary>
internal sealed record PtxRegister(string Name, PtxType Type, int Index);
