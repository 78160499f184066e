using System.Runtime.InteropServices;

namespace DwrSeg.PtxEmulator.Memory;

/// <summary>
/// The emulated device's global memory. Allocations lie far apart, with gaps between them, and addresses never come again, so that an
/// access that misses its allocation hits nothing. Each byte knows whether it was written.
/// </summary>
/// <remarks>Safe to call from several threads; a launch runs under the same lock.</remarks>
internal sealed unsafe class DeviceMemory : IDisposable
{
    private const int SlotBits = 22;
    private const ulong SlotBytes = 1ul << SlotBits;
    private const ulong LowestAddress = 0x2000_0000_0000;
    private const ulong AddressesPerDevice = 0x1000_0000_0000;

    private readonly ulong _first;
    private readonly Dictionary<ulong, Allocation> _live = [];
    private readonly List<Allocation> _byNumber = [];
    private Allocation?[] _slots = new Allocation?[1024];
    private int _nextSlot = 1;
    private int _nextNumber;

    /// <param name="device">The device's number: no two devices share an address.</param>
    public DeviceMemory(int device = 0) => _first = LowestAddress + (ulong)device * AddressesPerDevice;

    /// <summary>Held while a launch or a copy runs.</summary>
    public Lock Gate { get; } = new();

    public int LiveAllocations => _live.Count;

    public ulong LiveBytes { get; private set; }

    /// <summary>Launches so far.</summary>
    public long Launches { get; private set; }

    /// <summary>Reserves memory; its content is unwritten, and reading it fails.</summary>
    /// <param name="bytes">How much; 0 gives an address that nothing can be read from.</param>
    /// <param name="name">What failures call it.</param>
    /// <returns>An address that is a multiple of 256.</returns>
    public ulong Allocate(ulong bytes, string name)
    {
        lock (Gate)
        {
            int slots = checked((int)((bytes + SlotBytes - 1) / SlotBytes)) + 2;
            while (_nextSlot + slots > _slots.Length) Array.Resize(ref _slots, _slots.Length * 2);
            // Starts at odd multiples of 256 so that code cannot rely on a better alignment than the driver promises.
            ulong address = _first + ((ulong)_nextSlot << SlotBits) + 256;
            var allocation = new Allocation(address, bytes, name, _nextNumber++);
            for (int slot = 0; slot < slots - 1; slot++) _slots[_nextSlot + slot] = allocation;
            _nextSlot += slots;
            _live.Add(address, allocation);
            _byNumber.Add(allocation);
            LiveBytes += bytes;
            return address;
        }
    }

    /// <summary>Frees an allocation by the address that <see cref="Allocate"/> gave.</summary>
    public void Free(ulong address)
    {
        lock (Gate)
        {
            if (!_live.Remove(address, out Allocation? allocation))
            {
                Allocation? near = Find(address);
                string found = near is null ? "nothing was ever allocated there" : near.Live ? $"it lies inside {near}"
                    : $"{near} is freed already";
                throw new EmulatorException(FailureKind.InvalidAddress, $"free of 0x{address:x}: {found}") { Address = address,
                    MemoryName = near?.Name };
            }
            LiveBytes -= allocation.Bytes;
            allocation.Release();
            _byNumber.Remove(allocation);
        }
    }

    public void CopyIn(ulong target, void* source, ulong bytes)
    {
        lock (Gate)
        {
            if (bytes == 0) return;
            Allocation allocation = Resolve(target, bytes, "copy to the device");
            Buffer.MemoryCopy(source, allocation.Data + (target - allocation.Base), bytes, bytes);
            WrittenMap.Set(allocation.Written, target - allocation.Base, bytes);
        }
    }

    public void CopyIn<T>(ulong target, ReadOnlySpan<T> source)
        where T : unmanaged
    {
        fixed (T* p = source) CopyIn(target, p, (ulong)source.Length * (ulong)sizeof(T));
    }

    /// <summary>Copies to the host; bytes that nothing wrote arrive as whatever the memory holds (<see cref="IsWritten"/> tells them).</summary>
    public void CopyOut(void* target, ulong source, ulong bytes)
    {
        lock (Gate)
        {
            if (bytes == 0) return;
            Allocation allocation = Resolve(source, bytes, "copy to the host");
            Buffer.MemoryCopy(allocation.Data + (source - allocation.Base), target, bytes, bytes);
        }
    }

    public void CopyOut<T>(Span<T> target, ulong source)
        where T : unmanaged
    {
        fixed (T* p = target) CopyOut(p, source, (ulong)target.Length * (ulong)sizeof(T));
    }

    /// <summary>Copies on the device; unwritten bytes stay unwritten.</summary>
    public void CopyWithin(ulong target, ulong source, ulong bytes)
    {
        lock (Gate)
        {
            if (bytes == 0) return;
            Allocation from = Resolve(source, bytes, "copy on the device, source");
            Allocation to = Resolve(target, bytes, "copy on the device, target");
            Buffer.MemoryCopy(from.Data + (source - from.Base), to.Data + (target - to.Base), bytes, bytes);
            WrittenMap.Copy(to.Written, target - to.Base, from.Written, source - from.Base, bytes);
        }
    }

    /// <summary>Makes a range unwritten again.</summary>
    public void Forget(ulong address, ulong bytes)
    {
        lock (Gate)
        {
            Allocation allocation = Resolve(address, bytes, "allocation");
            WrittenMap.Clear(allocation.Written, address - allocation.Base, bytes);
        }
    }

    /// <summary>Sets bytes.</summary>
    public void Fill(ulong target, byte value, ulong count)
    {
        lock (Gate)
        {
            if (count == 0) return;
            Allocation allocation = Resolve(target, count, "fill");
            NativeMemory.Fill(allocation.Data + (target - allocation.Base), (nuint)count, value);
            WrittenMap.Set(allocation.Written, target - allocation.Base, count);
        }
    }

    /// <summary>Sets 4-byte words.</summary>
    public void Fill32(ulong target, uint value, ulong count)
    {
        lock (Gate)
        {
            if (count == 0) return;
            if (target % 4 != 0)
                throw new EmulatorException(FailureKind.Misaligned,
                    $"fill of words at 0x{target:x}, which is no multiple of 4") { Address = target };
            Allocation allocation = Resolve(target, count * 4, "fill");
            var words = (uint*)(allocation.Data + (target - allocation.Base));
            for (ulong i = 0; i < count; i++) words[i] = value;
            WrittenMap.Set(allocation.Written, target - allocation.Base, count * 4);
        }
    }

    /// <summary>
    /// Says what a range of an allocation holds from here on: a tensor of this name, unwritten; nothing any more where the name is null.
    /// </summary>
    public void MarkRegion(ulong address, ulong bytes, string? name)
    {
        lock (Gate)
        {
            if (bytes == 0) return;
            Resolve(address, bytes, $"region \"{name}\"").Mark(address, bytes, name);
        }
    }

    /// <summary>Whether every byte of a range has been written.</summary>
    public bool IsWritten(ulong address, ulong bytes)
    {
        lock (Gate)
        {
            Allocation allocation = Resolve(address, bytes, "look");
            return WrittenMap.All(allocation.Written, address - allocation.Base, bytes);
        }
    }

    /// <summary>The address of the host bytes behind a range, for reading them in place.</summary>
    public byte* HostPointer(ulong address, ulong bytes)
    {
        Allocation allocation = Resolve(address, bytes, "look");
        return allocation.Data + (address - allocation.Base);
    }

    /// <summary>Name and place of what an address belongs to, live or freed; for messages.</summary>
    public string Describe(ulong address)
    {
        Allocation? allocation = Find(address);
        if (allocation is null) return "no allocation is near it";
        if (!allocation.Live) return $"{allocation} was freed";
        if (address < allocation.Base) return $"{allocation.Base - address} bytes before {allocation}";
        return address >= allocation.Base + allocation.Bytes
            ? $"{address - allocation.Base - allocation.Bytes} bytes after the end of {allocation}"
            : $"at byte {address - allocation.Base} of {allocation}";
    }

    /// <summary>The allocation whose slot holds an address, live or not.</summary>
    internal Allocation? Find(ulong address)
    {
        ulong slot = unchecked(address - _first) >> SlotBits;
        if (slot >= (ulong)_slots.Length) return null;
        // What lies less than a slot before an allocation is told as its underrun.
        return _slots[slot] ?? (slot + 1 < (ulong)_slots.Length ? _slots[slot + 1] : null);
    }

    /// <summary>For each worker how many requests it has made so far; they stamp sectors.</summary>
    internal uint[] Requests { get; } = new uint[Allocation.MaxWorkers];

    internal void SetReadOnly(ulong address) => _live[address].ReadOnly = true;

    /// <summary>Numbers a new launch and gives its tag for <see cref="Allocation.Owners"/>.</summary>
    internal uint BeginLaunch(out long launch)
    {
        launch = ++Launches;
        uint tag = BlockOwners.Tag(launch);
        if (tag == 1 && launch > 1) foreach (Allocation allocation in _live.Values) allocation.ClearOwners();
        return tag;
    }

    /// <summary>Live allocations in the order in which they were made.</summary>
    internal IReadOnlyList<Allocation> Allocations => _byNumber;

    public void Dispose()
    {
        lock (Gate)
        {
            foreach (Allocation allocation in _live.Values) allocation.Release();
            _live.Clear();
            _byNumber.Clear();
            LiveBytes = 0;
        }
    }

    private Allocation Resolve(ulong address, ulong bytes, string what)
    {
        Allocation? allocation = Find(address);
        if (allocation is { Live: true } && address >= allocation.Base && bytes <= allocation.Bytes
            && address - allocation.Base <= allocation.Bytes - bytes)
            return allocation;
        FailureKind kind = allocation is { Live: false } ? FailureKind.UseAfterFree : FailureKind.OutOfBounds;
        throw new EmulatorException(kind, $"{what}: {bytes} bytes at 0x{address:x}, {Describe(address)}") { Address = address,
            MemoryName = allocation?.Name };
    }
}
