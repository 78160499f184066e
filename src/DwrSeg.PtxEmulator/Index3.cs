namespace DwrSeg.PtxEmulator;

/// <summary>Position of a block in its grid or of a thread in its block, or the size of either.</summary>
internal readonly record struct Index3(uint X, uint Y = 1, uint Z = 1)
{
    public ulong Count => (ulong)X * Y * Z;

    /// <summary>The position number <paramref name="index"/> of a grid of this size, x running fastest.</summary>
    public Index3 At(ulong index) => new((uint)(index % X), (uint)(index / X % Y), (uint)(index / X / Y));

    public override string ToString() => $"({X}, {Y}, {Z})";
}
