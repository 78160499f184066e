using System.Runtime.InteropServices;

namespace DwrSeg.PtxEmulator.Memory;

/// <summary>One allocation of device memory with its shadow state. Freed ones keep their name, so that a late access can be told.</summary>
internal sealed unsafe class Allocation
{
    public readonly ulong Base;
    public readonly ulong Bytes;
    public readonly string Name;

    /// <summary>The bytes.</summary>
    public byte* Data;

    /// <summary>A bit for each byte: written or not.</summary>
    public uint* Written;

    /// <summary>For each 4-byte word the launch and block that last wrote it (<see cref="BlockOwners"/>).</summary>
    public uint* Owners;

    /// <summary>The same for each byte; only there once something wrote less than a word.</summary>
    public uint* ByteOwners;

    /// <summary>A bit for each 32-byte sector: read in the present launch; then written in it.</summary>
    public uint* ReadSectors;
    public uint* WrittenSectors;

    /// <summary>A write from a kernel fails.</summary>
    public bool ReadOnly;

    /// <summary>The launch that has parameters which point here.</summary>
    public long PointedByLaunch;

    /// <summary>The last launch that counted sectors here.</summary>
    public long TouchedByLaunch;

    /// <summary>Position in the lists of workers' stamps.</summary>
    public readonly int Number;

    /// <summary>Workers that can run blocks side by side.</summary>
    public const int MaxWorkers = 64;

    private readonly nint[] _stamps = new nint[MaxWorkers * 2];
    private readonly List<MemorySpan> _regions = [];
    private readonly List<MemorySpan> _dead = [];
    private readonly MemorySpan _whole;

    public Allocation(ulong address, ulong bytes, string name, int number)
    {
        Base = address;
        Bytes = bytes;
        Name = name;
        Number = number;
        _whole = new MemorySpan(this, address, address + bytes, name);
        Data = (byte*)NativeMemory.AllocZeroed((nuint)bytes + 64);
        Written = (uint*)NativeMemory.AllocZeroed((nuint)WrittenMap.Words(bytes) + 2, sizeof(uint));
        Owners = (uint*)NativeMemory.AllocZeroed((nuint)(bytes / 4) + 2, sizeof(uint));
        nuint sectorWords = (nuint)(bytes / 1024) + 2;
        ReadSectors = (uint*)NativeMemory.AllocZeroed(sectorWords, sizeof(uint));
        WrittenSectors = (uint*)NativeMemory.AllocZeroed(sectorWords, sizeof(uint));
    }

    public bool Live => Data != null;

    public bool HasRegions => _regions.Count + _dead.Count > 0;

    /// <summary>32-byte sectors that the allocation spans.</summary>
    public ulong Sectors => (Bytes + 31) / 32;

    public void EnsureByteOwners()
    {
        if (ByteOwners != null) return;
        var fresh = (uint*)NativeMemory.AllocZeroed((nuint)Bytes + 8, sizeof(uint));
        fixed (uint** place = &ByteOwners)
        {
            if (Interlocked.CompareExchange(ref *(nint*)place, (nint)fresh, 0) != 0) NativeMemory.Free(fresh);
        }
    }

    /// <summary>Forgets which blocks wrote what.</summary>
    public void ClearOwners()
    {
        NativeMemory.Clear(Owners, ((nuint)(Bytes / 4) + 2) * sizeof(uint));
        if (ByteOwners != null) NativeMemory.Clear(ByteOwners, ((nuint)Bytes + 8) * sizeof(uint));
    }

    /// <summary>Clears the marks of sectors where they are still an earlier launch's.</summary>
    public void BeginSectors(long launch)
    {
        if (Volatile.Read(ref TouchedByLaunch) == launch) return;
        lock (_regions)
        {
            if (TouchedByLaunch == launch) return;
            ClearSectors();
            Volatile.Write(ref TouchedByLaunch, launch);
        }
    }

    /// <summary>Marks a sector as touched in the launch.</summary>
    /// <returns>Whether it was not before.</returns>
    public bool Touch(ulong sector, bool write)
    {
        uint* word = (write ? WrittenSectors : ReadSectors) + (sector >> 5);
        uint bit = 1u << (int)(sector & 31);
        return (*word & bit) == 0 && (Interlocked.Or(ref *word, bit) & bit) == 0;
    }

    /// <summary>For each sector the last request of a worker that touched it.</summary>
    public uint* Stamps(int worker, bool write)
    {
        nint[] all = _stamps;
        int at = worker * 2 + (write ? 1 : 0);
        if (all[at] == 0) all[at] = (nint)NativeMemory.AllocZeroed((nuint)Sectors + 1, sizeof(uint));
        return (uint*)all[at];
    }

    public void ClearStamps(int worker)
    {
        for (int at = worker * 2; at < worker * 2 + 2; at++)
            if (_stamps[at] != 0) NativeMemory.Clear((void*)_stamps[at], (nuint)(Sectors + 1) * sizeof(uint));
    }

    private void ClearSectors()
    {
        nuint bytes = ((nuint)(Bytes / 1024) + 2) * sizeof(uint);
        NativeMemory.Clear(ReadSectors, bytes);
        NativeMemory.Clear(WrittenSectors, bytes);
    }

    /// <summary>Replaces whatever regions overlap the range by this one, unwritten; by none where the name is null.</summary>
    public void Mark(ulong address, ulong bytes, string? name)
    {
        ulong end = address + bytes;
        _dead.RemoveAll(r => r.Start >= address && r.End <= end);
        foreach (MemorySpan old in _regions.Where(r => r.Start < end && r.End > address).ToArray())
        {
            _regions.Remove(old);
            _dead.Add(old);
        }
        if (_dead.Count > 4096) _dead.RemoveRange(0, 2048);
        if (bytes > 0) WrittenMap.Clear(Written, address - Base, bytes);
        if (name is null || bytes == 0)
        {
            if (_dead.Count == 0) _dead.Add(new MemorySpan(this, address, end, "a region that was never named"));
            return;
        }
        int at = _regions.FindIndex(r => r.Start > address);
        _regions.Insert(at < 0 ? _regions.Count : at, new MemorySpan(this, address, end, name));
    }

    /// <summary>The live span that holds an address; null where none does.</summary>
    public MemorySpan? SpanAt(ulong address)
    {
        if (!HasRegions) return _whole.Contains(address) ? _whole : null;
        int low = 0, high = _regions.Count - 1;
        while (low <= high)
        {
            int middle = (low + high) / 2;
            if (address < _regions[middle].Start) high = middle - 1;
            else if (address >= _regions[middle].End) low = middle + 1;
            else return _regions[middle];
        }
        return null;
    }

    /// <summary>Whether a launch has read and written one span.</summary>
    public bool ReadAndWrittenIn(long launch)
    {
        if (!HasRegions) return _whole.ReadInLaunch == launch && _whole.WrittenInLaunch == launch;
        return _regions.Exists(r => r.ReadInLaunch == launch && r.WrittenInLaunch == launch);
    }

    /// <summary>The region that lived here last.</summary>
    public MemorySpan? DeadAt(ulong address) => _dead.FindLast(r => r.Contains(address));

    /// <summary>The live region nearest to an address, for messages.</summary>
    public MemorySpan? NearestTo(ulong address) =>
        _regions.MinBy(r => address < r.Start ? r.Start - address : address >= r.End ? address - r.End : 0);

    public void Release()
    {
        NativeMemory.Free(Data);
        NativeMemory.Free(Written);
        NativeMemory.Free(Owners);
        NativeMemory.Free(ByteOwners);
        NativeMemory.Free(ReadSectors);
        NativeMemory.Free(WrittenSectors);
        for (int i = 0; i < _stamps.Length; i++)
        {
            NativeMemory.Free((void*)_stamps[i]);
            _stamps[i] = 0;
        }
        Data = null;
        Written = Owners = ByteOwners = ReadSectors = WrittenSectors = null;
        _regions.Clear();
        _dead.Clear();
    }

    public override string ToString() => $"\"{Name}\" (0x{Base:x}, {Bytes} bytes)";
}
