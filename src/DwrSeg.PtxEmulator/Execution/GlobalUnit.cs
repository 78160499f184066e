using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using DwrSeg.PtxEmulator.Memory;

namespace DwrSeg.PtxEmulator.Execution;

/// <summary>A block's way to global memory: finds what an address belongs to, checks the access, counts its sectors, and does it.</summary>
internal sealed unsafe class GlobalUnit
{
    private const uint LastRequest = 0xf000_0000;

    private readonly BlockRunner _block;
    private readonly DeviceMemory _memory;
    private readonly MemorySpan?[] _spans;
    private readonly bool _strict;

    // For each warp: 0, or the barriers passed plus one when it last wrote what no fence of the device's scope has followed since.
    private readonly long[] _unfenced;
    private bool _observed;
    private bool _acquired;
    private uint _request;
    private uint _firstRequestOfBlock;

    public GlobalUnit(BlockRunner block, DeviceMemory memory, int warps, bool strict)
    {
        _block = block;
        _memory = memory;
        _strict = strict;
        _unfenced = new long[warps];
        _spans = new MemorySpan?[block.Code.Count];
        _request = memory.Requests[block.Worker];
    }

    public long BlockLoadSectors { get; private set; }

    public long BlockStoreSectors { get; private set; }

    public long LaunchLoadSectors { get; private set; }

    public long LaunchStoreSectors { get; private set; }

    public void BeginBlock()
    {
        _observed = _acquired = false;
        Array.Clear(_unfenced);
        // A request's number doubles as the stamp of the sectors that it touched.
        if (_request > LastRequest)
        {
            foreach (Allocation allocation in _memory.Allocations) allocation.ClearStamps(_block.Worker);
            _request = 0;
        }
        _firstRequestOfBlock = _request + 1;
    }

    /// <summary>Hands the count of requests to the worker's next launch.</summary>
    public void EndLaunch() => _memory.Requests[_block.Worker] = _request;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Load(Warp warp, Op* op, MemoryAccess access, ulong* addresses, uint mask)
    {
        byte** pointers = stackalloc byte*[32];
        for (uint left = mask; left != 0;)
        {
            MemorySpan span = Find(warp, op, addresses, left, access.Bytes, false, out uint here);
            if ((warp.Early & here) != 0) CheckAwaited(warp, op, access.Bytes, span, addresses, here);
            if (access.NonCoherent && span.WrittenInLaunch == _block.Launch) CheckNotWritten(warp, op, access.Bytes, span, addresses, here);
            CheckRead(warp, op, access.Bytes, span, addresses, here, pointers);
            CountLoad(op, access.Bytes, span.Allocation, addresses, here);
            LaneData.Load(warp, op, access, pointers, here);
            left &= ~here;
        }
        if (access.Strong) _observed = true;
        if (access.Acquire) _acquired = true;
    }

    /// <summary>A fence of the device's scope.</summary>
    public void Fence(Warp warp)
    {
        Release(warp);
        // It orders nothing after other blocks' writes unless something was read before that they may have written to say so.
        if (_observed) _acquired = true;
    }

    /// <summary>The same without effect on statistics, for constant memory.</summary>
    public void LoadConstant(Warp warp, Op* op, MemoryAccess access, ulong* addresses, uint mask)
    {
        byte** pointers = stackalloc byte*[32];
        for (uint left = mask; left != 0;)
        {
            MemorySpan span = Find(warp, op, addresses, left, access.Bytes, false, out uint here);
            CheckRead(warp, op, access.Bytes, span, addresses, here, pointers);
            LaneData.Load(warp, op, access, pointers, here);
            left &= ~here;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Store(Warp warp, Op* op, MemoryAccess access, ulong* addresses, uint mask)
    {
        if ((warp.Early & mask) != 0) throw NotAwaited(warp, op, mask, addresses);
        byte** pointers = stackalloc byte*[32];
        for (uint left = mask; left != 0;)
        {
            MemorySpan span = Find(warp, op, addresses, left, access.Bytes, true, out uint here);
            if (access.Strong) span.SharedInLaunch = _block.Launch;
            CheckWrite(warp, op, access.Bytes, access.Strong, span, addresses, here, pointers);
            ref Counters counters = ref _block.Counters[op->Index];
            counters.GlobalStoreRequests++;
            counters.GlobalStoreBytes += BitOperations.PopCount(here) * access.Bytes;
            counters.GlobalStoreSectors += Sectors(span.Allocation, addresses, here, access.Bytes, true);
            LaneData.Store(warp, op, access, pointers, here);
            left &= ~here;
        }
        if (access.Strong) Publish(warp, access.Release);
        else _unfenced[warp.Number] = _block.Barriers + 1;
    }

    /// <summary>Pointers to what a read of another kind takes (<c>cp.async</c>), checked and counted.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Read(Warp warp, Op* op, int bytes, int alignment, ulong* addresses, uint mask, byte** pointers)
    {
        for (uint left = mask; left != 0;)
        {
            MemorySpan span = Find(warp, op, addresses, left, bytes, false, out uint here, alignment);
            if ((warp.Early & here) != 0) CheckAwaited(warp, op, bytes, span, addresses, here);
            CheckRead(warp, op, bytes, span, addresses, here, pointers);
            CountLoad(op, bytes, span.Allocation, addresses, here);
            left &= ~here;
        }
    }

    /// <summary>The source of one lane's bulk copy, checked and counted.</summary>
    public byte* ReadBulk(Warp warp, Op* op, int lane, ulong address, int bytes)
    {
        ulong* addresses = stackalloc ulong[32];
        addresses[lane] = address;
        MemorySpan span = Find(warp, op, addresses, 1u << lane, bytes, false, out _, alignment: 16);
        if ((warp.Early >> lane & 1) != 0) CheckAwaited(warp, op, bytes, span, addresses, 1u << lane);
        Allocation allocation = span.Allocation;
        ulong offset = address - allocation.Base;
        if (_strict)
        {
            if (!WrittenMap.All(allocation.Written, offset, (ulong)bytes)) throw Unwritten(warp, op, lane, span, offset, bytes);
            if (span.WrittenInLaunch == _block.Launch) CheckOthers(warp, op, lane, address, bytes, span, "reads");
        }
        ref Counters counters = ref _block.Counters[op->Index];
        counters.GlobalLoadRequests++;
        counters.GlobalLoadBytes += bytes;
        const int Sector = 32;
        ulong first = address / Sector * Sector, end = address + (ulong)bytes;
        while (first < end)
        {
            uint mask = 0;
            for (int i = 0; i < 32 && first < end; i++, first += Sector)
            {
                addresses[i] = first;
                mask |= 1u << i;
            }
            counters.GlobalLoadSectors += Sectors(allocation, addresses, mask, Sector, false);
        }
        return allocation.Data + offset;
    }

    /// <summary>Pointers to what an atomic changes, checked and counted.</summary>
    /// <param name="warp">The warp.</param>
    /// <param name="op">The operation.</param>
    /// <param name="access">What it accesses.</param>
    /// <param name="returns">It returns what was there.</param>
    /// <param name="addresses">The lanes' addresses.</param>
    /// <param name="mask">The lanes.</param>
    /// <param name="pointers">Filled in.</param>
    public void Atomic(Warp warp, Op* op, MemoryAccess access, bool returns, ulong* addresses, uint mask, byte** pointers)
    {
        if ((warp.Early & mask) != 0) throw NotAwaited(warp, op, mask, addresses);
        int bytes = access.Bytes;
        for (uint left = mask; left != 0;)
        {
            MemorySpan span = Find(warp, op, addresses, left, bytes, true, out uint here);
            span.SharedInLaunch = _block.Launch;
            CheckRead(warp, op, bytes, span, addresses, here, pointers, "changes with an atomic");
            CountLoad(op, bytes, span.Allocation, addresses, here);
            ref Counters counters = ref _block.Counters[op->Index];
            counters.GlobalStoreRequests++;
            counters.GlobalStoreBytes += BitOperations.PopCount(here) * bytes;
            counters.GlobalStoreSectors += Sectors(span.Allocation, addresses, here, bytes, true);
            left &= ~here;
        }
        Publish(warp, access.Release);
        if (!returns) return;
        _observed = true;
        if (access.Acquire) _acquired = true;
    }

    /// <summary>Orders what the warp wrote, and what barriers ordered before it, before what the warp does from here on.</summary>
    private void Release(Warp warp)
    {
        for (int w = 0; w < _unfenced.Length; w++)
        {
            if (w == warp.Number || _unfenced[w] <= _block.Barriers) _unfenced[w] = 0;
        }
    }

    /// <summary>The block tells others something: noted is whether its writes so far are ordered before that.</summary>
    private void Publish(Warp warp, bool releases)
    {
        if (releases) Release(warp);
        bool ordered = true;
        for (int w = 0; w < _unfenced.Length; w++)
        {
            if (_unfenced[w] != 0 && (w == warp.Number || _unfenced[w] <= _block.Barriers)) ordered = false;
        }
        _block.Context.Published[BlockOwners.Block(_block.Owner)] = ordered;
    }

    private void CountLoad(Op* op, int bytes, Allocation allocation, ulong* addresses, uint mask)
    {
        ref Counters counters = ref _block.Counters[op->Index];
        counters.GlobalLoadRequests++;
        counters.GlobalLoadBytes += BitOperations.PopCount(mask) * bytes;
        counters.GlobalLoadSectors += Sectors(allocation, addresses, mask, bytes, false);
    }

    /// <summary>The span that the first of the lanes accesses, and which other lanes access it too.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private MemorySpan Find(Warp warp, Op* op, ulong* addresses, uint mask, int bytes, bool write, out uint here, int alignment = 0)
    {
        ulong align = (ulong)(alignment > 0 ? alignment : bytes) - 1;
        int first = BitOperations.TrailingZeroCount(mask);
        MemorySpan? span = _spans[op->Index];
        ulong address = addresses[first];
        if (span is null || address < span.Start || address + (ulong)bytes > span.End || (write && span.Allocation.ReadOnly))
        {
            span = Lookup(warp, op, first, address, bytes, write);
            _spans[op->Index] = span;
            span.Allocation.BeginSectors(_block.Launch);
        }
        if (write) span.WrittenInLaunch = _block.Launch;
        else span.ReadInLaunch = _block.Launch;
        ulong start = span.Start, room = span.End - start - (ulong)bytes;
        if (mask == uint.MaxValue && (address & align) == 0 && Consecutive(addresses, (ulong)bytes) && addresses[31] - start <= room)
        {
            here = mask;
            return span;
        }
        here = 0;
        ulong misaligned = 0;
        for (uint left = mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            misaligned |= addresses[lane] & align;
            if (addresses[lane] - start <= room) here |= 1u << lane;
        }
        if (misaligned == 0) return span;
        int bad = first;
        while ((mask >> bad & 1) == 0 || (addresses[bad] & align) == 0) bad++;
        throw warp.Failure(op, FailureKind.Misaligned, 1u << bad,
            $"address 0x{addresses[bad]:x} is no multiple of {align + 1}: {_memory.Describe(addresses[bad])}", addresses[bad], span.Name);
    }

    private MemorySpan Lookup(Warp warp, Op* op, int lane, ulong address, int bytes, bool write)
    {
        string what = $"{(write ? "write" : "read")} of {bytes} bytes at 0x{address:x}";
        Allocation? allocation = _memory.Find(address);
        if (allocation is { Live: false })
            throw warp.Failure(op, FailureKind.UseAfterFree, 1u << lane, $"{what}: {_memory.Describe(address)}", address, allocation.Name);
        if (allocation is null || address < allocation.Base || address + (ulong)bytes > allocation.Base + allocation.Bytes)
            throw warp.Failure(op, FailureKind.OutOfBounds, 1u << lane, $"{what}: {_memory.Describe(address)}", address, allocation?.Name);
        if (write && allocation.ReadOnly)
            throw warp.Failure(op, FailureKind.ReadOnly, 1u << lane, $"{what}: {_memory.Describe(address)}, which is constant", address,
                allocation.Name);
        MemorySpan? span = allocation.SpanAt(address);
        if (span is null)
        {
            MemorySpan? dead = allocation.DeadAt(address), near = allocation.NearestTo(address);
            string was = dead is null ? "no region is there" : $"region {dead} has died";
            string beside = near is null ? "" : address >= near.End ? $"; {address - near.End} bytes after the end of {near}"
                : $"; {near.Start - address} bytes before {near}";
            throw warp.Failure(op, FailureKind.DeadRegion, 1u << lane, $"{what}: {was}{beside}", address, dead?.Name ?? near?.Name);
        }
        if (address + (ulong)bytes > span.End)
            throw warp.Failure(op, FailureKind.RegionOverrun, 1u << lane, $"{what} runs over the end of {span}", address, span.Name);
        if (allocation.HasRegions && allocation.PointedByLaunch == _block.Launch && span.PointedByLaunch != _block.Launch)
            throw warp.Failure(op, FailureKind.RegionOverrun, 1u << lane,
                $"{what} hits {span} at byte {address - span.Start}, which no parameter of the launch points into", address, span.Name);
        return span;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void CheckRead(
        Warp warp, Op* op, int bytes, MemorySpan span, ulong* addresses, uint mask, byte** pointers, string does = "reads")
    {
        Allocation allocation = span.Allocation;
        ulong origin = allocation.Base;
        byte* data = allocation.Data;
        uint* written = allocation.Written;
        uint full = (1u << bytes) - 1;
        bool ordered = !_strict || span.WrittenInLaunch != _block.Launch;
        if (ordered && mask == uint.MaxValue && Consecutive(addresses, (ulong)bytes)
            && WrittenMap.All(written, addresses[0] - origin, (ulong)bytes * 32))
        {
            byte* at = data + (addresses[0] - origin);
            for (int lane = 0; lane < 32; lane++) pointers[lane] = at + lane * bytes;
            return;
        }
        for (uint left = mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            ulong offset = addresses[lane] - origin;
            pointers[lane] = data + offset;
            if ((written[offset >> 5] >> (int)(offset & 31) & full) != full && _strict)
                throw Unwritten(warp, op, lane, span, offset, bytes);
        }
        if (ordered) return;
        for (uint left = mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            CheckOthers(warp, op, lane, addresses[lane], bytes, span, does);
        }
    }

    /// <summary>Nothing that a read takes was written by another block in this launch, but for what was handed over.</summary>
    private void CheckOthers(Warp warp, Op* op, int lane, ulong address, int bytes, MemorySpan span, string does)
    {
        uint other = BlockOwners.Other(span.Allocation, address - span.Allocation.Base, (uint)bytes, _block.Owner);
        if (other == 0 || (_acquired && _block.Context.Published[BlockOwners.Block(other)])) return;
        string wrote = _acquired ? "wrote in this launch with no fence between that and its last atomic" : "wrote in this launch";
        throw Conflict(warp, op, lane, address, span, other, does, wrote);
    }

    private void CheckNotWritten(Warp warp, Op* op, int bytes, MemorySpan span, ulong* addresses, uint mask)
    {
        for (uint left = _strict ? mask : 0; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            if (!BlockOwners.WrittenInLaunch(span.Allocation, addresses[lane] - span.Allocation.Base, (uint)bytes, _block.Owner))
                continue;
            throw warp.Failure(
                op, FailureKind.NonCoherentRead, 1u << lane,
                $"address 0x{addresses[lane]:x} (byte {addresses[lane] - span.Start} of {span}) was written in this launch, but the load (ld.global.nc, __ldg, a const __restrict__ pointer) promises that it is not",
                addresses[lane], span.Name);
        }
    }

    /// <summary>Threads that have not awaited the launches before read nothing that these wrote.</summary>
    private void CheckAwaited(Warp warp, Op* op, int bytes, MemorySpan span, ulong* addresses, uint mask)
    {
        LaunchContext context = _block.Context;
        for (uint left = mask & warp.Early; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            ulong address = addresses[lane];
            uint tag = BlockOwners.TagAmong(context.TagsStillRunning, span.Allocation, address - span.Allocation.Base, (uint)bytes);
            foreach (PreviousLaunch earlier in context.MayStillRun!)
            {
                bool wrote = tag == BlockOwners.Tag(earlier.Number) && BlockOwners.Round(earlier.Number) == BlockOwners.Round(_block.Launch);
                if (!wrote && span.SharedInLaunch != earlier.Number) continue;
                throw warp.Failure(op, FailureKind.PreviousNotAwaited, 1u << lane,
                    $"address 0x{address:x} (byte {address - span.Start} of {span}) is read before griddepcontrol.wait, but {earlier.Kernel}, which "
                    + $"may still be running, {(wrote ? "wrote it" : "changes it with atomics")}", address, span.Name);
            }
        }
    }

    private EmulatorException NotAwaited(Warp warp, Op* op, uint mask, ulong* addresses)
    {
        int lane = BitOperations.TrailingZeroCount(mask & warp.Early);
        return warp.Failure(op, FailureKind.PreviousNotAwaited, 1u << lane,
            $"address 0x{addresses[lane]:x} ({_memory.Describe(addresses[lane])}) is written before griddepcontrol.wait, while launches before this "
            + "one may still use it", addresses[lane]);
    }

    private static EmulatorException Unwritten(Warp warp, Op* op, int lane, MemorySpan span, ulong offset, int bytes)
    {
        ulong address = WrittenMap.FirstUnwritten(span.Allocation.Written, offset, (ulong)bytes) + span.Allocation.Base;
        return warp.Failure(op, FailureKind.UnwrittenRead, 1u << lane,
            $"byte 0x{address:x} is read but nothing has written it: byte {address - span.Start} of {span}", address, span.Name);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void CheckWrite(Warp warp, Op* op, int bytes, bool strong, MemorySpan span, ulong* addresses, uint mask, byte** pointers)
    {
        Allocation allocation = span.Allocation;
        ulong first = addresses[0] - allocation.Base;
        if (mask == uint.MaxValue && (first & 3) == 0 && Consecutive(addresses, (ulong)bytes))
        {
            WrittenMap.Set(allocation.Written, first, (ulong)bytes * 32);
            for (int lane = 0; lane < 32; lane++) pointers[lane] = allocation.Data + first + lane * bytes;
            if (!_strict || strong) return;
            for (uint at = 0; at < (uint)bytes * 32; at += 16)
            {
                uint owner = BlockOwners.Write(allocation, first + at, 16, _block.Owner);
                if (owner != 0)
                    throw Conflict(warp, op, (int)at / bytes, addresses[0] + at, span, owner, "writes", "wrote in this launch");
            }
            return;
        }
        if (_strict && !strong && Repeated(addresses, mask) is int again and >= 0)
        {
            throw warp.Failure(
                op, FailureKind.WarpRace, 1u << again,
                $"address 0x{addresses[again]:x} (byte {addresses[again] - span.Start} of {span}) is written by two lanes in one instruction; which of them stays is not defined",
                addresses[again], span.Name);
        }
        for (uint left = mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            ulong offset = addresses[lane] - allocation.Base;
            pointers[lane] = allocation.Data + offset;
            WrittenMap.Set(allocation.Written, offset, (ulong)bytes);
            if (!_strict || strong) continue;
            uint other = BlockOwners.Write(allocation, offset, (uint)bytes, _block.Owner);
            if (other != 0) throw Conflict(warp, op, lane, addresses[lane], span, other, "writes", "wrote in this launch");
        }
    }

    /// <summary>A lane that has the address of an earlier one; -1 where there is none. Aligned accesses of one size never overlap in part.</summary>
    private static int Repeated(ulong* addresses, uint mask)
    {
        bool rises = true;
        ulong last = 0;
        for (uint left = mask; left != 0 && rises; left &= left - 1)
        {
            ulong address = addresses[BitOperations.TrailingZeroCount(left)];
            rises = address > last;
            last = address;
        }
        if (rises) return -1;
        for (uint left = mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            var wanted = Vector512.Create(addresses[lane]);
            uint same = 0;
            for (int i = 0; i < 32; i += 8)
                same |= (uint)Vector512.Equals(Vector512.Load(addresses + i), wanted).ExtractMostSignificantBits() << i;
            if ((same & mask & ((1u << lane) - 1)) != 0) return lane;
        }
        return -1;
    }

    private EmulatorException Conflict(Warp warp, Op* op, int lane, ulong address, MemorySpan span, uint other, string here,
        string there) =>
        warp.Failure(
            op, FailureKind.BlockConflict, 1u << lane,
            $"address 0x{address:x} (byte {address - span.Start} of {span}): this block {here} what block {_block.Shape.Grid.At(BlockOwners.Block(other))} {there}; their order is not defined",
            address, span.Name);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool Consecutive(ulong* addresses, ulong bytes)
    {
        Vector512<ulong> step = Vector512<ulong>.Indices * bytes + Vector512.Create(addresses[0]), eight = Vector512.Create(bytes * 8);
        Vector512<ulong> wrong = Vector512.Load(addresses) ^ step;
        wrong |= Vector512.Load(addresses + 8) ^ (step += eight);
        wrong |= Vector512.Load(addresses + 16) ^ (step += eight);
        wrong |= Vector512.Load(addresses + 24) ^ (step + eight);
        return wrong == Vector512<ulong>.Zero;
    }

    /// <summary>Counts the sectors of a request, and those that are new to the block and to the launch.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private int Sectors(Allocation allocation, ulong* addresses, uint mask, int bytes, bool write)
    {
        uint request = ++_request;
        uint* stamps = allocation.Stamps(_block.Worker, write);
        ulong origin = allocation.Base, previous = ulong.MaxValue;
        int count = 0;
        for (uint left = mask; left != 0; left &= left - 1)
        {
            // Allocations start at multiples of 32, and an access never crosses a sector.
            ulong sector = (addresses[BitOperations.TrailingZeroCount(left)] - origin) >> 5;
            if (sector == previous) continue;
            previous = sector;
            uint stamp = stamps[sector];
            if (stamp == request) continue;
            stamps[sector] = request;
            count++;
            if (stamp >= _firstRequestOfBlock) continue;
            bool fresh = allocation.Touch(sector, write);
            if (write)
            {
                BlockStoreSectors++;
                if (fresh) LaunchStoreSectors++;
            }
            else
            {
                BlockLoadSectors++;
                if (fresh) LaunchLoadSectors++;
            }
        }
        return count;
    }
}
