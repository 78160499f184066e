using System.Diagnostics;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.PtxEmulator.Memory;

namespace DwrSeg.PtxEmulator.Driver;

/// <summary>The primary context of a device: its memory, its streams, and the failure that ended it.</summary>
internal sealed class EmulatedContext : IDisposable
{
    private readonly List<DeviceStream> _streams = [];
    private readonly List<Operation> _orphans = [];
    private readonly Dictionary<ulong, (ulong Bytes, bool IsPooled)> _allocations = [];
    private readonly HashSet<ulong> _beingFreed = [];
    private readonly Func<LaunchStatistics, double>? _clock;
    private int _allocationNumber;

    public EmulatedContext(CUdevice device, DeviceModel model, EmulatedDriverOptions options, LaunchLog log)
    {
        (Device, Model, Log, _clock) = (device, model, log, options.LaunchMilliseconds);
        Memory = new DeviceMemory(device.Ordinal);
        LaunchOptions = new EmulatorOptions
        {
            Architecture = model.Architecture, Seed = options.Seed, Strict = options.Strict, Threads = options.Threads,
        };
        Legacy = new DeviceStream(this, isBlocking: true);
        _streams.Add(Legacy);
    }

    public CUcontext Handle { get; set; }

    public CUdevice Device { get; }

    public DeviceModel Model { get; }

    public DeviceMemory Memory { get; }

    public EmulatorOptions LaunchOptions { get; }

    public LaunchLog Log { get; }

    /// <summary>Notes what is put on streams; null where nobody asked for it.</summary>
    public OrderLog? Order { get; init; }

    public DeviceStream Legacy { get; }

    /// <summary>How often the context is retained; at 0 it is destroyed.</summary>
    public int References { get; set; }

    public bool IsDestroyed { get; private set; }

    /// <summary>The failure that every call meets from now on.</summary>
    public CUresult Failure { get; private set; }

    public string FailureMessage { get; private set; } = "";

    public bool HasFailed => Failure != CUresult.Success || IsDestroyed;

    /// <summary>Host time that the context's work has taken so far, or what a planted clock says: the clock of its events.</summary>
    public long BusyTicks { get; private set; }

    public int Allocations => _allocations.Count;

    public ulong AllocatedBytes { get; private set; }

    /// <summary>The ends of all streams: together they come after all work.</summary>
    public IEnumerable<Operation> Tails
    {
        get
        {
            _orphans.RemoveAll(o => o.IsDone);
            return _streams.Select(s => s.Tail).OfType<Operation>().Concat(_orphans);
        }
    }

    public DeviceStream AddStream(bool isBlocking)
    {
        var stream = new DeviceStream(this, isBlocking);
        _streams.Add(stream);
        return stream;
    }

    /// <summary>Forgets a stream; its work still runs.</summary>
    public void RemoveStream(DeviceStream stream)
    {
        _streams.Remove(stream);
        if (stream.Tail is Operation tail) _orphans.Add(tail);
    }

    /// <summary>Puts work at the end of a stream, in the order that the legacy default stream imposes on it.</summary>
    /// <param name="stream">The stream.</param>
    /// <param name="operation">The work.</param>
    public void Enqueue(DeviceStream stream, Operation operation)
    {
        operation.ComesAfter(stream.Tail);
        if (stream.IsLegacy)
        {
            foreach (DeviceStream other in _streams)
            {
                if (other.IsBlocking) operation.ComesAfter(other.Tail);
            }
            foreach (Operation orphan in _orphans) operation.ComesAfter(orphan);
        }
        else if (stream.IsBlocking)
        {
            operation.ComesAfter(Legacy.Tail);
        }
        stream.Tail = operation;
    }

    /// <summary>Runs a piece of work on the context's clock; what goes wrong ends the context.</summary>
    public void Run(Action body)
    {
        long start = Stopwatch.GetTimestamp();
        try
        {
            body();
        }
        catch (EmulatorException failure)
        {
            Failure = FailureStatus.Of(failure.Kind);
            FailureMessage = failure.Message;
        }
        if (_clock is null) BusyTicks += Stopwatch.GetTimestamp() - start;
    }

    /// <summary>Lets a planted clock go on by what a launch takes.</summary>
    public void Spend(LaunchStatistics launch)
    {
        if (_clock is not null) Spend(_clock(launch));
    }

    /// <summary>Lets a planted clock go on.</summary>
    public void Spend(double milliseconds)
    {
        if (_clock is not null) BusyTicks += (long)(milliseconds * Stopwatch.Frequency / 1000);
    }

    /// <summary>Allocates; null where the device, or the host behind it, has not so much left.</summary>
    public ulong? Allocate(ulong bytes, bool isPooled)
    {
        if (bytes > Model.MemoryBytes - AllocatedBytes) return null;
        ulong address;
        try
        {
            address = Memory.Allocate(bytes, $"allocation {_allocationNumber + 1}");
        }
        catch (OutOfMemoryException)
        {
            return null;
        }
        _allocationNumber++;
        _allocations.Add(address, (bytes, isPooled));
        AllocatedBytes += bytes;
        return address;
    }

    public void Free(ulong address)
    {
        if (!_allocations.Remove(address, out (ulong Bytes, bool) allocation)) return;
        _beingFreed.Remove(address);
        AllocatedBytes -= allocation.Bytes;
        Memory.Free(address);
    }

    /// <summary>Notes that an allocation will be freed in a stream's order, so that nobody frees it again.</summary>
    public void BeginFree(ulong address) => _beingFreed.Add(address);

    /// <summary>Why an address cannot be freed; null where it can.</summary>
    public string? FreeProblem(ulong address, bool inStreamOrder)
    {
        if (!_allocations.TryGetValue(address, out (ulong Bytes, bool IsPooled) allocation))
            return $"no allocation begins at 0x{address:x}: {Memory.Describe(address)}";
        if (_beingFreed.Contains(address)) return $"0x{address:x} is being freed in a stream's order already";
        return inStreamOrder && !allocation.IsPooled ? $"0x{address:x} was not allocated in a stream's order" : null;
    }

    /// <summary>Why a range is not device memory; null where it is.</summary>
    public string? RangeProblem(ulong address, ulong bytes)
    {
        Allocation? allocation = Memory.Find(address);
        bool inside = allocation is { Live: true } && address >= allocation.Base && address - allocation.Base <= allocation.Bytes
            && bytes <= allocation.Bytes - (address - allocation.Base);
        return inside ? null : $"{bytes} bytes at 0x{address:x} are not within an allocation: {Memory.Describe(address)}";
    }

    /// <summary>Frees everything; work that has not run never will.</summary>
    public void Dispose()
    {
        IsDestroyed = true;
        _streams.Clear();
        _orphans.Clear();
        _allocations.Clear();
        AllocatedBytes = 0;
        Memory.Dispose();
    }
}
