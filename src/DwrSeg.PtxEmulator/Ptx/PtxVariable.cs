namespace DwrSeg.PtxEmulator.Ptx;

internal enum StateSpace
{
    Generic,
    Global,
    Constant,
    Shared,

    /// <summary>Shared memory of all blocks of a cluster.</summary>
    Cluster,

    Local,
    Parameter,
}

/// <summary>A declared variable or parameter.</summary>
internal sealed record PtxVariable(string Name, StateSpace Space, uint Align, ulong Bytes)
{
    /// <summary>Declared <c>.extern</c>: for shared memory, what the launch adds.</summary>
    public bool Extern { get; init; }

    /// <summary>Initial bytes; null for zeros. Shorter than the variable where the rest is zero.</summary>
    public byte[]? Initial { get; init; }

    /// <summary>Places in <see cref="Initial"/> that hold another variable's address.</summary>
    public IReadOnlyList<(int Offset, string Symbol, long Added)> Addresses { get; init; } = [];

    /// <summary>Place in the space of parameters, of shared or of local memory.</summary>
    public uint Offset { get; set; }
}
