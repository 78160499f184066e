using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.PtxEmulator.Driver;

internal sealed unsafe partial class EmulatedDriver
{
    private readonly List<PinnedMemory> _pinned = [];

    public CUresult MemGetInfo(out ulong free, out ulong total)
    {
        lock (_gate)
        {
            (free, total) = (0, 0);
            if (!Enter(out EmulatedContext? context, out CUresult status)) return status;
            total = context.Model.MemoryBytes;
            free = total - context.AllocatedBytes;
            return CUresult.Success;
        }
    }

    public CUresult MemAlloc(out CUdeviceptr address, ulong bytes)
    {
        lock (_gate)
        {
            address = default;
            if (!Enter(out EmulatedContext? context, out CUresult status) || !MayWait(out status)) return status;
            return Allocate(context, bytes, isPooled: false, out address);
        }
    }

    public CUresult MemFree(CUdeviceptr address)
    {
        lock (_gate)
        {
            if (!Enter(out EmulatedContext? context, out CUresult status) || !MayWait(out status)) return status;
            if (context.FreeProblem(address.Value, inStreamOrder: false) is string problem) return Fail(CUresult.InvalidValue, problem);
            context.Free(address.Value);
            return CUresult.Success;
        }
    }

    public CUresult DeviceGetDefaultMemPool(out CUmemoryPool pool, CUdevice device)
    {
        lock (_gate)
        {
            pool = default;
            CUresult status = CheckDevice(device, out _);
            if (status == CUresult.Success) pool = new CUmemoryPool(_pools[device.Ordinal]);
            return status;
        }
    }

    // Freed memory goes back to the device at once, so there is never any to release; only the handle is checked.
    public CUresult MemPoolSetReleaseThreshold(CUmemoryPool pool, ulong bytes) => CheckPool(pool);

    public CUresult MemPoolTrimTo(CUmemoryPool pool, ulong bytesToKeep) => CheckPool(pool);

    public CUresult MemAllocAsync(out CUdeviceptr address, ulong bytes, CUstream stream)
    {
        lock (_gate)
        {
            address = default;
            if (!EnterStream(stream, out DeviceStream? on, out EmulatedContext? context, out CUresult status)) return status;
            if (on.Capture is not null) return Break(on.Capture, "memory is not allocated by graphs here; allocate before the capture");
            status = Allocate(context, bytes, isPooled: true, out address);
            if (status == CUresult.Success) Submit(on, new AllocateWork(address.Value, bytes));
            return status;
        }
    }

    public CUresult MemFreeAsync(CUdeviceptr address, CUstream stream)
    {
        lock (_gate)
        {
            if (!EnterStream(stream, out DeviceStream? on, out EmulatedContext? context, out CUresult status)) return status;
            if (on.Capture is not null) return Break(on.Capture, "memory is not freed by graphs here; free it after the capture");
            if (context.FreeProblem(address.Value, inStreamOrder: true) is string problem) return Fail(CUresult.InvalidValue, problem);
            context.BeginFree(address.Value);
            Submit(on, new FreeWork(address.Value));
            return CUresult.Success;
        }
    }

    public CUresult MemHostAlloc(out void* memory, ulong bytes, uint flags)
    {
        lock (_gate)
        {
            memory = null;
            if (!Enter(out EmulatedContext? context, out CUresult status) || !MayWait(out status)) return status;
            if (bytes == 0 || flags > 7) return Fail(CUresult.InvalidValue, $"{bytes} bytes with flags {flags}");
            ulong used = _pinned.Aggregate(0ul, (sum, p) => sum + p.Bytes);
            if (bytes > _options.PinnableBytes - used)
                return Fail(CUresult.OutOfMemory, $"{bytes} bytes asked for, {used} of {_options.PinnableBytes} bytes are pinned");
            var pinned = new PinnedMemory(context, bytes);
            _pinned.Add(pinned);
            memory = (void*)pinned.Address;
            return CUresult.Success;
        }
    }

    public CUresult MemFreeHost(void* memory)
    {
        lock (_gate)
        {
            if (!Enter(out _, out CUresult status) || !MayWait(out status)) return status;
            PinnedMemory? pinned = _pinned.Find(p => p.Address == (nint)memory);
            if (pinned is null)
                return Fail(CUresult.InvalidValue, $"no pinned memory begins at 0x{(nint)memory:x}; freed already, or from elsewhere");
            _pinned.Remove(pinned);
            pinned.Free();
            return CUresult.Success;
        }
    }

    public CUresult MemcpyHtoDAsync(CUdeviceptr target, void* source, ulong bytes, CUstream stream)
    {
        lock (_gate)
        {
            if (!EnterStream(stream, out DeviceStream? on, out EmulatedContext? context, out CUresult status)) return status;
            if (bytes == 0) return CUresult.Success;
            if (source is null) return Fail(CUresult.InvalidValue, "the host's address is null");
            if (context.RangeProblem(target.Value, bytes) is string problem) return Fail(CUresult.InvalidValue, problem);
            HostBytes host = Host(source, bytes);
            // The driver stages pageable memory, or waits, before the call returns; a graph reads it anew at each launch.
            bool taken = !host.IsPinned && on.Capture is null;
            bool kept = taken && bytes <= (ulong)Array.MaxLength;
            if (kept) host = host with { Kept = new ReadOnlySpan<byte>(source, (int)bytes).ToArray() };
            Submit(on, new UploadWork(target.Value, host, bytes));
            return taken && !kept ? Await(context, [on.Tail!]) : CUresult.Success;
        }
    }

    public CUresult MemcpyDtoHAsync(void* target, CUdeviceptr source, ulong bytes, CUstream stream)
    {
        lock (_gate)
        {
            if (!EnterStream(stream, out DeviceStream? on, out EmulatedContext? context, out CUresult status)) return status;
            if (bytes == 0) return CUresult.Success;
            if (target is null) return Fail(CUresult.InvalidValue, "the host's address is null");
            if (context.RangeProblem(source.Value, bytes) is string problem) return Fail(CUresult.InvalidValue, problem);
            HostBytes host = Host(target, bytes);
            Submit(on, new DownloadWork(host, source.Value, bytes));
            // A copy to pageable memory has ended when the call returns.
            return host.IsPinned || on.Capture is not null ? CUresult.Success : Await(context, [on.Tail!]);
        }
    }

    public CUresult MemcpyDtoDAsync(CUdeviceptr target, CUdeviceptr source, ulong bytes, CUstream stream)
    {
        lock (_gate)
        {
            if (!EnterStream(stream, out DeviceStream? on, out EmulatedContext? context, out CUresult status)) return status;
            if (bytes == 0) return CUresult.Success;
            string? problem = context.RangeProblem(source.Value, bytes) ?? context.RangeProblem(target.Value, bytes);
            if (problem is not null) return Fail(CUresult.InvalidValue, problem);
            if (target.Value < source.Value + bytes && source.Value < target.Value + bytes)
                return Fail(CUresult.InvalidValue,
                    $"{bytes} bytes at {source} and at {target} overlap: what a copy leaves there is undefined");
            Submit(on, new CopyWork(target.Value, source.Value, bytes));
            return CUresult.Success;
        }
    }

    public CUresult MemsetD8Async(CUdeviceptr target, byte value, ulong count, CUstream stream)
    {
        lock (_gate)
        {
            if (!EnterStream(stream, out DeviceStream? on, out EmulatedContext? context, out CUresult status)) return status;
            if (count == 0) return CUresult.Success;
            if (context.RangeProblem(target.Value, count) is string problem) return Fail(CUresult.InvalidValue, problem);
            Submit(on, new FillWork(target.Value, value, count));
            return CUresult.Success;
        }
    }

    public CUresult MemsetD32Async(CUdeviceptr target, uint value, ulong count, CUstream stream)
    {
        lock (_gate)
        {
            if (!EnterStream(stream, out DeviceStream? on, out EmulatedContext? context, out CUresult status)) return status;
            if (count == 0) return CUresult.Success;
            if (target.Value % 4 != 0) return Fail(CUresult.InvalidValue, $"{target} is no multiple of 4");
            if (count > ulong.MaxValue / 4) return Fail(CUresult.InvalidValue, $"{count} words are more than there is");
            if (context.RangeProblem(target.Value, count * 4) is string problem) return Fail(CUresult.InvalidValue, problem);
            Submit(on, new FillWordsWork(target.Value, value, count));
            return CUresult.Success;
        }
    }

    public CUresult MarkRegion(CUdeviceptr address, ulong bytes, string? name, CUstream stream)
    {
        lock (_gate)
        {
            if (!EnterStream(stream, out DeviceStream? on, out EmulatedContext? context, out CUresult status)) return status;
            if (context.RangeProblem(address.Value, bytes) is string problem) return Fail(CUresult.InvalidValue, problem);
            Submit(on, new RegionWork(address.Value, bytes, name));
            return CUresult.Success;
        }
    }

    private CUresult Allocate(EmulatedContext context, ulong bytes, bool isPooled, out CUdeviceptr address)
    {
        address = default;
        if (bytes == 0) return Fail(CUresult.InvalidValue, "an allocation has at least one byte");
        ulong? found = context.Allocate(bytes, isPooled);
        if (found is null && isPooled && bytes <= context.Model.MemoryBytes)
        {
            // Memory that streams are about to free may serve: the driver would wait for it too.
            CUresult status = Await(context, [.. context.Tails]);
            if (status != CUresult.Success) return status;
            found = context.Allocate(bytes, isPooled);
        }
        if (found is null)
        {
            ulong total = context.Model.MemoryBytes;
            return Fail(
                CUresult.OutOfMemory, $"{bytes} bytes asked for, {total - context.AllocatedBytes} of {total} free on {context.Model.Name}");
        }
        address = new CUdeviceptr(found.Value);
        return CUresult.Success;
    }

    private CUresult CheckPool(CUmemoryPool pool)
    {
        lock (_gate)
        {
            if (!_initialised) return NotInitialised();
            return _pools.Contains(pool.Value) ? CUresult.Success : Fail(CUresult.InvalidValue, $"0x{pool.Value:x} is no memory pool");
        }
    }

    private HostBytes Host(void* memory, ulong bytes) => new((nint)memory, _pinned.Find(p => p.Contains((nint)memory, bytes)));
}
