namespace DwrSeg.PtxEmulator.Execution;

/// <summary>What the warp's loop does with an operation.</summary>
internal enum OpKind
{
    /// <summary>Calls <see cref="Op.Run"/> for the lanes where the guard holds.</summary>
    Plain,

    /// <summary>The start of a basic block: counts it, and joins lanes that diverged before.</summary>
    Enter,

    Branch,
    IndirectBranch,
    Exit,

    /// <summary>Calls <see cref="Op.Run"/>, after which the warp may have to wait.</summary>
    Wait,
}

/// <summary>
/// One translated instruction. <see cref="D"/> to <see cref="F"/> and the elements of <see cref="Extra"/> are places in the warp's frame of
/// registers, −1 where there is none; all else about the instruction stands in the remaining fields.
/// </summary>
internal unsafe struct Op
{
    public delegate*<Warp, Op*, void> Run;
    public OpKind Kind;
    public int D;
    public int A;
    public int B;
    public int C;
    public int E;
    public int F;

    /// <summary>The guard's place; −1 for none.</summary>
    public int Guard;

    /// <summary>All ones where the guard is negated.</summary>
    public uint GuardFlip;

    /// <summary>Position in the list of operations; counters and caches use it.</summary>
    public int Index;

    /// <summary>An offset, a table, the target of a branch: whatever the instruction needs.</summary>
    public long Immediate;

    public int Small;

    public int ExtraCount;

    public int* Extra;
}
