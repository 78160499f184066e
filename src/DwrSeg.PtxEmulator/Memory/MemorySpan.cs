namespace DwrSeg.PtxEmulator.Memory;

/// <summary>A range that an access must lie within: a region of an allocation, or all of an allocation that has no regions.</summary>
internal sealed class MemorySpan(Allocation allocation, ulong start, ulong end, string name)
{
    public readonly ulong Start = start;
    public readonly ulong End = end;
    public readonly Allocation Allocation = allocation;
    public readonly string Name = name;

    /// <summary>The launch whose parameters point here.</summary>
    public long PointedByLaunch;

    /// <summary>The last launch that read this.</summary>
    public long ReadInLaunch;

    /// <summary>The last launch that wrote this.</summary>
    public long WrittenInLaunch;

    /// <summary>The last launch that changed this by an atomic or a strong store, which leave no owner.</summary>
    public long SharedInLaunch;

    public bool Contains(ulong address) => address >= Start && address < End;

    public override string ToString() =>
        ReferenceEquals(Name, Allocation.Name) ? Allocation.ToString() : $"\"{Name}\" (0x{Start:x}, {End - Start} bytes, in {Allocation})";
}
