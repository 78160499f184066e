using DwrSeg.PtxEmulator.Execution;
using DwrSeg.PtxEmulator.Ptx;

namespace DwrSeg.PtxEmulator.Translation;

/// <summary>What an operation has to do with <c>wgmma</c>.</summary>
internal enum ProductRole
{
    None,

    /// <summary>It issues a product: its <see cref="OpBuilder.Extra"/> are accumulators and, where A is in registers, the fragment of A.</summary>
    Product,

    /// <summary>It ends products: their sums reach the accumulators.</summary>
    Wait,
}

/// <summary>An operation before its registers have places: fields that name registers hold tokens of the translator.</summary>
internal sealed unsafe class OpBuilder
{
    public delegate*<Warp, Op*, void> Run;

    public OpKind Kind { get; set; }

    public int D { get; set; } = -1;

    public int A { get; set; } = -1;

    public int B { get; set; } = -1;

    public int C { get; set; } = -1;

    public int E { get; set; } = -1;

    public int F { get; set; } = -1;

    public int Guard { get; set; } = -1;

    public bool GuardNegated { get; set; }

    public long Immediate { get; set; }

    public int Small { get; set; }

    public List<int> Extra { get; } = [];

    public List<int> Reads { get; } = [];

    public List<int> Writes { get; } = [];

    public PtxInstruction? Instruction { get; set; }

    public InstructionClass Class { get; set; } = InstructionClass.Other;

    public int Flops { get; set; }

    public MemoryAccess? Access { get; set; }

    public ProductRole Product { get; set; }
}
