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
    private uint _request;
    private uint _firstRequestOfBlock;

    public GlobalUnit(BlockRunner block, DeviceMemory memory, bool strict)
    {
        _block = block;
        _memory = memory;
        _strict = strict;
        _spans = new MemorySpan?[block.Code.Count];
        _request = memory.Requests[block.Worker];
    }

    public long BlockLoadSectors { get; private set; }

    public long BlockStoreSectors { get; private set; }

    public long LaunchLoadSectors { get; private set; }

    public long LaunchStoreSectors { get; private set; }

    /// <summary>This block has ordered its reads after other blocks' writes.</summary>
    public bool Acquired { get; set; }

    public void BeginBlock()
    {
        Acquired = false;
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
            CheckRead(warp, op, access.Bytes, access.Strong, span, addresses, here, pointers);
            CountLoad(op, access.Bytes, span.Allocation, addresses, here);
            LaneData.Load(warp, op, access, pointers, here);
            left &= ~here;
        }
        if (access.Acquire) Acquired = true;
    }

    /// <summary>The same without effect on statistics, for constant memory.</summary>
    public void LoadConstant(Warp warp, Op* op, MemoryAccess access, ulong* addresses, uint mask)
    {
        byte** pointers = stackalloc byte*[32];
        for (uint left = mask; left != 0;)
        {
            MemorySpan span = Find(warp, op, addresses, left, access.Bytes, false, out uint here);
            CheckRead(warp, op, access.Bytes, true, span, addresses, here, pointers);
            LaneData.Load(warp, op, access, pointers, here);
            left &= ~here;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Store(Warp warp, Op* op, MemoryAccess access, ulong* addresses, uint mask)
    {
        byte** pointers = stackalloc byte*[32];
        for (uint left = mask; left != 0;)
        {
            MemorySpan span = Find(warp, op, addresses, left, access.Bytes, true, out uint here);
            CheckWrite(warp, op, access.Bytes, access.Strong, span, addresses, here, pointers);
            ref Counters counters = ref _block.Counters[op->Index];
            counters.GlobalStoreRequests++;
            counters.GlobalStoreBytes += BitOperations.PopCount(here) * access.Bytes;
            counters.GlobalStoreSectors += Sectors(span.Allocation, addresses, here, access.Bytes, true);
            LaneData.Store(warp, op, access, pointers, here);
            left &= ~here;
        }
    }

    /// <summary>Pointers to what a read of another kind takes (<c>cp.async</c>), checked and counted.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Read(Warp warp, Op* op, int bytes, int alignment, ulong* addresses, uint mask, byte** pointers)
    {
        for (uint left = mask; left != 0;)
        {
            MemorySpan span = Find(warp, op, addresses, left, bytes, false, out uint here, alignment);
            CheckRead(warp, op, bytes, false, span, addresses, here, pointers);
            CountLoad(op, bytes, span.Allocation, addresses, here);
            left &= ~here;
        }
    }

    /// <summary>Pointers to what an atomic changes, checked and counted.</summary>
    public void Atomic(Warp warp, Op* op, int bytes, ulong* addresses, uint mask, byte** pointers)
    {
        for (uint left = mask; left != 0;)
        {
            MemorySpan span = Find(warp, op, addresses, left, bytes, true, out uint here);
            if (_strict && span.WrittenInLaunch == _block.Launch)
            {
                for (uint lanes = here; lanes != 0; lanes &= lanes - 1)
                {
                    int lane = BitOperations.TrailingZeroCount(lanes);
                    uint other = BlockOwners.Other(span.Allocation, addresses[lane] - span.Allocation.Base, (uint)bytes, _block.Owner);
                    if (other != 0 && !Acquired)
                        throw Conflict(warp, op, lane, addresses[lane], span, other, "changes with an atomic", "wrote without one");
                }
            }
            CheckRead(warp, op, bytes, true, span, addresses, here, pointers);
            CountLoad(op, bytes, span.Allocation, addresses, here);
            ref Counters counters = ref _block.Counters[op->Index];
            counters.GlobalStoreRequests++;
            counters.GlobalStoreBytes += BitOperations.PopCount(here) * bytes;
            counters.GlobalStoreSectors += Sectors(span.Allocation, addresses, here, bytes, true);
            left &= ~here;
        }
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
    private void CheckRead(Warp warp, Op* op, int bytes, bool strong, MemorySpan span, ulong* addresses, uint mask, byte** pointers)
    {
        Allocation allocation = span.Allocation;
        ulong origin = allocation.Base;
        byte* data = allocation.Data;
        uint* written = allocation.Written;
        uint full = (1u << bytes) - 1;
        bool ordered = strong || !_strict || span.WrittenInLaunch != _block.Launch || Acquired;
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
            uint other = BlockOwners.Other(allocation, addresses[lane] - origin, (uint)bytes, _block.Owner);
            if (other != 0) throw Conflict(warp, op, lane, addresses[lane], span, other, "reads", "wrote in this launch");
        }
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
                if (owner != 0 && !Acquired)
                    throw Conflict(warp, op, (int)at / bytes, addresses[0] + at, span, owner, "writes", "wrote in this launch");
            }
            return;
        }
        for (uint left = mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            ulong offset = addresses[lane] - allocation.Base;
            pointers[lane] = allocation.Data + offset;
            WrittenMap.Set(allocation.Written, offset, (ulong)bytes);
            if (!_strict || strong) continue;
            uint other = BlockOwners.Write(allocation, offset, (uint)bytes, _block.Owner);
            if (other != 0 && !Acquired) throw Conflict(warp, op, lane, addresses[lane], span, other, "writes", "wrote in this launch");
        }
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
