using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using DwrSeg.PtxEmulator.Ptx;

namespace DwrSeg.PtxEmulator.Execution;

/// <summary>
/// A block's shared memory with what is needed to tell races: for each granule (the kernel's smallest access) who wrote it last and when,
/// and when each warp of the cluster read it last.
/// </summary>
/// <remarks>
/// Time is the cluster's counter, which moves on at every barrier and warp synchronisation. An access at time t by warp r is ordered before warp
/// w's next one where t ≤ w's clock of r; clocks are joined at barriers. All accesses up to <see cref="_full"/>, when the whole block last met,
/// are ordered before everything that the block's warps do, which decides nearly every check with one comparison. Times are never reset between
/// blocks: what is not newer than the block's start was not written by it. An entry holds the time above 6 bits for the lane. What a bulk copy
/// wrote has the number of its mbarrier, behind those of the warps, in place of a warp's.
/// </remarks>
internal sealed unsafe partial class SharedUnit : IDisposable
{
    /// <summary>Lane of entries that stand for atomics, and for several lanes.</summary>
    private const uint AtomicLane = 62;
    private const uint ManyLanes = 63;

    /// <summary>Lane of entries for reads by <c>wgmma</c>, which are over once the warp has waited for them.</summary>
    public const uint ProductLane = 61;
    private const uint Pending = uint.MaxValue;

    public readonly byte* Data;
    public readonly uint Bytes;

    private readonly BlockRunner _block;
    private readonly ClusterRunner _cluster;

    // For each warp of the cluster's other blocks its last access here.
    private readonly PeerAccess[] _peers;
    private readonly int _granule;
    private readonly nuint _granules;
    private readonly uint* _writeTime;
    private readonly ushort* _writeWarp;
    private readonly uint* _readTime;
    private readonly uint*[] _readBy;
    private readonly uint* _wordStamps;
    private readonly ushort* _productReads;
    private readonly bool _strict;
    private uint _stamp;
    private uint _start;
    private uint _full;

    // The time up to which all writes are visible to every warp's wgmma.
    private uint _fullAsync;

    public SharedUnit(BlockRunner block, uint bytes, int granule, int warps, bool strict)
    {
        (_block, _cluster) = (block, block.Cluster);
        _peers = new PeerAccess[warps * _cluster.Size];
        _arrivals = new PeerAccess[_peers.Length];
        _granule = granule;
        _strict = strict;
        Bytes = bytes;
        nuint padded = (bytes + 127) / 128 * 128 + 128;
        _granules = padded >> granule;
        Data = (byte*)NativeMemory.AlignedAlloc(padded, 64);
        NativeMemory.Clear(Data, padded);
        _writeTime = (uint*)NativeMemory.AllocZeroed(_granules, sizeof(uint));
        _readTime = (uint*)NativeMemory.AllocZeroed(_granules, sizeof(uint));
        _writeWarp = (ushort*)NativeMemory.AllocZeroed(_granules, sizeof(ushort));
        _readBy = new uint*[_peers.Length];
        for (int w = 0; w < warps; w++) _readBy[block.FirstWarp + w] = (uint*)NativeMemory.AllocZeroed(_granules, sizeof(uint));
        _wordStamps = (uint*)NativeMemory.AllocZeroed(padded / 4, sizeof(uint));
        _productReads = (ushort*)NativeMemory.AllocZeroed(_granules, sizeof(ushort));
    }

    private struct PeerAccess
    {
        public uint Time;
        public uint Lanes;
        public Op* Op;

        /// <summary>For an arrival at an mbarrier, its entry in clocks.</summary>
        public int Entry;
    }

    private uint Time => _cluster.Time;

    /// <summary>Forgets all accesses, so that time can begin anew.</summary>
    public void ForgetTimes()
    {
        NativeMemory.Clear(_writeTime, _granules * sizeof(uint));
        NativeMemory.Clear(_readTime, _granules * sizeof(uint));
        foreach (uint* times in _readBy) if (times != null) NativeMemory.Clear(times, _granules * sizeof(uint));
        Array.Clear(_peers);
        Array.Clear(_arrivals);
    }

    public void BeginBlock()
    {
        // Copies that the last block never waited for must not look as if they were under way.
        bool left = _block.LeftCopies;
        for (nuint g = 0; left && g < _granules; g++) if (_writeTime[g] == Pending) _writeTime[g] = 0;
        BeginBulk();
        _start = _full = _fullAsync = Time;
    }

    /// <summary>The whole block has met: everything up to a time is ordered before all that it does from here on, and visible to <c>wgmma</c> so far
    /// as the barrier's clock says.</summary>
    public void OrderAll(uint time, BarrierState barrier)
    {
        uint asyncTime = uint.MaxValue;
        for (int w = 0; w < _peers.Length; w++)
        {
            // Of what other blocks' warps did here, the barrier orders only what those that came knew of.
            if (_peers[w].Time > barrier.Clock[w]) return;
            if (_readBy[w] != null) asyncTime = Math.Min(asyncTime, barrier.AsyncClock[w]);
        }
        if (!KnowsBulk(barrier)) return;
        (_full, _fullAsync) = (time, Math.Max(_fullAsync, asyncTime));
    }

    /// <summary>All the block's warps have exited: none of its peers' accesses may be without an order before that.</summary>
    public void EndBlock()
    {
        EndBulk();
        if (!_strict || _cluster.Size == 1) return;
        CheckEnded(_peers);
        CheckEnded(_arrivals);
    }

    private void CheckEnded(PeerAccess[] accesses)
    {
        for (int w = 0; w < accesses.Length; w++)
        {
            PeerAccess access = accesses[w];
            if (access.Time <= _start) continue;
            bool ordered = false;
            for (int own = 0; own < _block.Warps && !ordered; own++)
            {
                uint[] clock = _block.WarpAt(own).Clock;
                // Who knows of a phase that was completed after an arrival knows of the arrival.
                ordered = clock[w] >= access.Time || (access.Entry > 0 && clock[access.Entry] >= access.Time);
            }
            if (ordered) continue;
            string phase = access.Entry > 0 ? ", and without having waited for the phase that this arrival belongs to" : "";
            throw _cluster.WarpAt(w).Failure(access.Op, FailureKind.ClusterLifetime, access.Lanes,
                $"block {_block.Position}, whose shared memory is touched here, ends with no cluster barrier between that this block arrives at with "
                + $"release and that one waits at{phase}");
        }
    }

    public void Dispose()
    {
        NativeMemory.AlignedFree(Data);
        NativeMemory.Free(_writeTime);
        NativeMemory.Free(_readTime);
        NativeMemory.Free(_writeWarp);
        NativeMemory.Free(_wordStamps);
        NativeMemory.Free(_productReads);
        foreach (uint* times in _readBy) NativeMemory.Free(times);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Load(Warp warp, Op* op, MemoryAccess access, uint* offsets, uint mask)
    {
        int bytes = access.Bytes;
        bool consecutive = mask == uint.MaxValue && Consecutive(offsets, (uint)bytes);
        if (consecutive) CheckEnds(warp, op, offsets, bytes);
        else Check(warp, op, offsets, mask, bytes);
        Count(op, offsets, mask, bytes, consecutive);
        if (consecutive && bytes == 4 && _granule == 2 && (!_strict || ReadWords(warp, offsets[0] >> 2)))
        {
            if (access is { ElementBytes: 4, DataBits: 32 } && op->Extra[0] >= 0)
            {
                Unsafe.CopyBlock(warp.Frame + op->Extra[0], Data + offsets[0], 128);
                return;
            }
        }
        else if (_strict)
            for (uint left = mask; left != 0; left &= left - 1)
                CheckRead(warp, op, BitOperations.TrailingZeroCount(left), offsets[BitOperations.TrailingZeroCount(left)], bytes);
        byte** pointers = stackalloc byte*[32];
        for (int lane = 0; lane < 32; lane++) pointers[lane] = Data + (mask >> lane & 1) * offsets[lane];
        LaneData.Load(warp, op, access, pointers, mask);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Store(Warp warp, Op* op, MemoryAccess access, uint* offsets, uint mask)
    {
        int bytes = access.Bytes;
        bool consecutive = mask == uint.MaxValue && Consecutive(offsets, (uint)bytes);
        if (consecutive) CheckEnds(warp, op, offsets, bytes);
        else Check(warp, op, offsets, mask, bytes);
        Count(op, offsets, mask, bytes, consecutive);
        if (consecutive && bytes == 4 && _granule == 2 && (!_strict || WriteWords(warp, offsets[0] >> 2)))
        {
            if (access is { ElementBytes: 4, DataBits: 32 })
            {
                Unsafe.CopyBlock(Data + offsets[0], warp.Frame + op->Extra[0], 128);
                return;
            }
        }
        else if (_strict)
            for (uint left = mask; left != 0; left &= left - 1)
                CheckWrite(warp, op, (uint)BitOperations.TrailingZeroCount(left), offsets[BitOperations.TrailingZeroCount(left)], bytes);
        byte** pointers = stackalloc byte*[32];
        for (int lane = 0; lane < 32; lane++) pointers[lane] = Data + (mask >> lane & 1) * offsets[lane];
        LaneData.Store(warp, op, access, pointers, mask);
    }

    /// <summary>A load or store by a warp of another block of the cluster.</summary>
    public void AccessByPeer(Warp warp, Op* op, MemoryAccess access, uint* offsets, uint mask)
    {
        int bytes = access.Bytes;
        Check(warp, op, offsets, mask, bytes);
        Count(op, offsets, mask, bytes);
        _block.Counters[op->Index].ClusterBytes += BitOperations.PopCount(mask) * bytes;
        if (_strict)
        {
            CheckPeer(warp, op, mask);
            _peers[warp.Index] = new PeerAccess { Time = Time, Lanes = mask, Op = op };
            ref uint* readBy = ref _readBy[warp.Index];
            if (readBy == null) readBy = (uint*)NativeMemory.AllocZeroed(_granules, sizeof(uint));
            // Barriers of this block alone order nothing for another one.
            uint full = _full;
            _full = _start;
            for (uint left = mask; left != 0; left &= left - 1)
            {
                int lane = BitOperations.TrailingZeroCount(left);
                if (access.Store) CheckWrite(warp, op, (uint)lane, offsets[lane], bytes);
                else CheckRead(warp, op, lane, offsets[lane], bytes);
            }
            _full = full;
        }
        byte** pointers = stackalloc byte*[32];
        for (int lane = 0; lane < 32; lane++) pointers[lane] = Data + (mask >> lane & 1) * offsets[lane];
        if (access.Store) LaneData.Store(warp, op, access, pointers, mask);
        else LaneData.Load(warp, op, access, pointers, mask);
    }

    /// <summary>A warp of another block may touch this one's memory: it has begun, and has not ended.</summary>
    private void CheckPeer(Warp warp, Op* op, uint mask)
    {
        string? problem = !warp.KnowsPeers ? "which may not have begun: a cluster barrier has to come first"
            : _block.HasEnded ? "which has ended: it has to wait at a cluster barrier that this block arrives at later" : null;
        if (problem is not null)
            throw warp.Failure(op, FailureKind.ClusterLifetime, mask, $"shared memory of block {_block.Position}, {problem}");
    }

    /// <summary>Bounds and alignment of an access; gives the pointer for one lane's atomic and orders it.</summary>
    public byte* Atomic(Warp warp, Op* op, int lane, uint offset, int bytes)
    {
        CheckLane(warp, op, lane, offset, bytes);
        if (_strict)
        {
            nuint end = (offset + (nuint)bytes - 1) >> _granule;
            for (nuint g = offset >> _granule; g <= end; g++) WriteGranule(warp, op, AtomicLane, g, lane, requireWritten: true);
        }
        return Data + offset;
    }

    /// <summary>Issues one lane's asynchronous copy: until it arrives nobody may touch the target.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Issue(Warp warp, Op* op, int lane, uint offset, int bytes, byte* source, int sourceBytes)
    {
        CheckLane(warp, op, lane, offset, bytes);
        AsyncCopies.Copy* copy = warp.Copies.Add(lane, offset, bytes);
        Unsafe.InitBlock(copy->Data, 0, 16);
        Unsafe.CopyBlock(copy->Data, source, (uint)sourceBytes);
        if (!_strict) return;
        nuint first = offset >> _granule, end = (offset + (nuint)bytes - 1) >> _granule;
        if (end - first == 3)
        {
            Vector128<uint> latest = Vector128.Max(Vector128.Load(_writeTime + first), Vector128.Load(_readTime + first));
            if (Vector128.LessThanOrEqualAll(latest, Vector128.Create(_full << 6 | 63)))
            {
                Vector128<uint>.AllBitsSet.Store(_writeTime + first);
                return;
            }
        }
        for (nuint g = first; g <= end; g++)
        {
            WriteGranule(warp, op, (uint)lane, g, lane, requireWritten: false);
            _writeTime[g] = Pending;
        }
    }

    /// <summary>Lets a copy arrive: it counts as written by its lane now.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Arrive(Warp warp, AsyncCopies.Copy* copy)
    {
        Unsafe.CopyBlock(Data + copy->Offset, copy->Data, (uint)copy->Bytes);
        if (!_strict) return;
        nuint first = copy->Offset >> _granule, end = (copy->Offset + (nuint)copy->Bytes - 1) >> _granule;
        for (nuint g = first; g <= end; g++)
        {
            _writeTime[g] = Time << 6 | (uint)copy->Lane;
            _writeWarp[g] = (ushort)warp.Index;
        }
    }

    /// <summary>Bounds, alignment and race check of a 16-byte row that a whole warp reads (<c>ldmatrix</c>).</summary>
    public void CheckRow(Warp warp, Op* op, int lane, uint offset)
    {
        CheckLane(warp, op, lane, offset, 16);
        if (_strict) CheckRead(warp, op, (int)ManyLanes, offset, 16);
    }

    /// <summary>The same of a row that a whole warp writes.</summary>
    public void CheckRowWrite(Warp warp, Op* op, int lane, uint offset)
    {
        CheckLane(warp, op, lane, offset, 16);
        if (_strict) CheckWrite(warp, op, (uint)lane, offset, 16);
    }

    /// <summary>Bounds, alignment and visibility of a 16-byte row that a warpgroup's product reads: until it ends nobody may write it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void BeginAsyncRead(WarpGroup group, Warp warp, Op* op, uint offset)
    {
        CheckLane(warp, op, 0, offset, 16);
        if (!_strict) return;
        nuint first = offset >> _granule, end = (offset + 15) >> _granule;
        uint span = _fullAsync - _start;
        for (nuint g = first; g <= end; g++)
        {
            bool isLikeLast = g > first && _writeTime[g] == _writeTime[g - 1] && _writeWarp[g] == _writeWarp[g - 1];
            if ((_writeTime[g] >> 6) - _start - 1 >= span && !isLikeLast) CheckAsyncRead(group, op, g);
            _productReads[g]++;
            _readTime[g] = Pending;
        }
    }

    /// <summary>Ends such a read: it counts as made by the group's warps now.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void EndAsyncRead(WarpGroup group, uint offset)
    {
        if (!_strict) return;
        nuint first = offset >> _granule, end = (offset + 15) >> _granule;
        for (int w = 0; w < WarpGroup.Size; w++)
        {
            uint* by = _readBy[group.Warp(w).Index];
            for (nuint g = first; g <= end; g++) by[g] = Time << 6 | ProductLane;
        }
        for (nuint g = first; g <= end; g++) if (--_productReads[g] == 0) _readTime[g] = Time << 6 | ManyLanes;
    }

    private void CheckAsyncRead(WarpGroup group, Op* op, nuint g)
    {
        uint written = _writeTime[g], time = written >> 6, offset = (uint)(g << _granule);
        int writer = _writeWarp[g];
        for (int w = 0; w < WarpGroup.Size; w++)
        {
            Warp reader = group.Warp(w);
            if (written == Pending) throw NotAwaited(reader, op, uint.MaxValue, g);
            if (time <= _start)
            {
                throw reader.Failure(op, FailureKind.UnwrittenRead, uint.MaxValue,
                    $"{Named(reader, offset)} is read but nothing in the block has written it", offset, Variable(offset));
            }
            if (!reader.Knows(writer, written, (int)ManyLanes)) throw Race(reader, op, uint.MaxValue, g, writer, written & 63, "read", "wrote");
            // A bulk copy writes by the way that wgmma reads by.
            if (writer >= _peers.Length || time <= reader.AsyncClock[writer]) continue;
            throw reader.Failure(op, FailureKind.ProxyFence, uint.MaxValue,
                $"{Named(reader, offset)} was written by warp {_cluster.WarpAt(writer).Number}, and no fence.proxy.async of the whole warp has made "
                + "that visible to wgmma: it belongs between the write (or the wait for the copy) and the barrier", offset, Variable(offset));
        }
    }

    /// <summary>Counts passes over the banks: 8- and 16-byte accesses go by half and quarter warps, equal words are one.</summary>
    public void Count(Op* op, uint* offsets, uint mask, int bytes) =>
        Count(op, offsets, mask, bytes, mask == uint.MaxValue && Consecutive(offsets, (uint)bytes));

    private void Count(Op* op, uint* offsets, uint mask, int bytes, bool consecutive)
    {
        ref Counters counters = ref _block.Counters[op->Index];
        counters.SharedAccesses++;
        int phases = bytes <= 4 ? 1 : bytes / 4;
        if (consecutive)
        {
            counters.SharedWavefronts += phases;
            return;
        }
        int lanes = 32 / phases;
        for (int phase = 0; phase < phases; phase++)
        {
            uint part = lanes == 32 ? mask : mask & (((1u << lanes) - 1) << (phase * lanes));
            if (part == 0) continue;
            int passes = Passes(offsets, part, bytes);
            counters.SharedWavefronts += passes;
            counters.SharedConflicts += passes - 1;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private int Passes(uint* offsets, uint mask, int bytes)
    {
        byte* perBank = stackalloc byte[32];
        Unsafe.InitBlock(perBank, 0, 32);
        if (++_stamp == 0)
        {
            NativeMemory.Clear(_wordStamps, (nuint)Bytes / 4 * 4);
            _stamp = 1;
        }
        int most = 1;
        for (uint left = mask; left != 0; left &= left - 1)
        {
            uint offset = offsets[BitOperations.TrailingZeroCount(left)];
            for (uint word = offset >> 2, end = (offset + (uint)bytes - 1) >> 2; word <= end; word++)
            {
                if (_wordStamps[word] == _stamp) continue;
                _wordStamps[word] = _stamp;
                most = Math.Max(most, ++perBank[word & 31]);
            }
        }
        return most;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool Consecutive(uint* offsets, uint bytes)
    {
        Vector512<uint> step = Vector512<uint>.Indices * bytes + Vector512.Create(offsets[0]);
        return Vector512.Load(offsets) == step && Vector512.Load(offsets + 16) == step + Vector512.Create(16 * bytes);
    }

    private void CheckEnds(Warp warp, Op* op, uint* offsets, int bytes)
    {
        CheckLane(warp, op, 0, offsets[0], bytes);
        // Offsets that wrap around are not consecutive places.
        if (offsets[31] < offsets[0] || offsets[31] > Bytes - (uint)bytes) Check(warp, op, offsets, uint.MaxValue, bytes);
    }

    /// <summary>The check of 32 lanes that read one word each, all in a row; false where it has to be looked at lane by lane.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private bool ReadWords(Warp warp, nuint g)
    {
        Vector512<uint> start = Vector512.Create(_start + 1), span = Vector512.Create(_full - _start);
        Vector512<uint> first = (Vector512.Load(_writeTime + g) >>> 6) - start,
            second = (Vector512.Load(_writeTime + g + 16) >>> 6) - start;
        if (!Vector512.LessThanAll(first, span) || !Vector512.LessThanAll(second, span)) return false;
        uint* by = _readBy[warp.Index];
        Vector512<uint> now = Vector512.Create(Time << 6), entry = now | Vector512<uint>.Indices;
        for (int i = 0; i < 32; i += 16, entry += Vector512.Create(16u))
        {
            // What a product reads stays pending.
            Vector512.Max(now, Vector512.Load(_readTime + g + i)).Store(_readTime + g + i);
            Vector512<uint> old = Vector512.Load(by + g + i);
            Vector512<uint> shared = Vector512.GreaterThanOrEqual(old, now) & ~Vector512.Equals(old, entry);
            Vector512.ConditionalSelect(shared, now | Vector512.Create(ManyLanes), entry).Store(by + g + i);
        }
        return true;
    }

    /// <summary>The same for writes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private bool WriteWords(Warp warp, nuint g)
    {
        Vector512<uint> full = Vector512.Create(_full << 6 | 63);
        Vector512<uint> latest = Vector512.Max(Vector512.Load(_writeTime + g), Vector512.Load(_writeTime + g + 16));
        latest = Vector512.Max(latest, Vector512.Max(Vector512.Load(_readTime + g), Vector512.Load(_readTime + g + 16)));
        if (!Vector512.LessThanOrEqualAll(latest, full)) return false;
        Vector512<uint> entry = Vector512.Create(Time << 6) | Vector512<uint>.Indices;
        entry.Store(_writeTime + g);
        (entry + Vector512.Create(16u)).Store(_writeTime + g + 16);
        Vector512.Create((ushort)warp.Index).Store(_writeWarp + g);
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Check(Warp warp, Op* op, uint* offsets, uint mask, int bytes)
    {
        uint limit = Bytes - (uint)bytes, align = (uint)bytes - 1;
        bool small = Bytes < (uint)bytes;
        for (uint left = mask; left != 0; left &= left - 1)
        {
            int lane = BitOperations.TrailingZeroCount(left);
            if (offsets[lane] > limit || (offsets[lane] & align) != 0 || small) CheckLane(warp, op, lane, offsets[lane], bytes);
        }
    }

    private void CheckLane(Warp warp, Op* op, int lane, uint offset, int bytes)
    {
        if (offset > Bytes || (uint)bytes > Bytes - offset)
            throw warp.Failure(op, FailureKind.OutOfBounds, 1u << lane,
                $"{bytes} bytes at shared address 0x{offset:x}, of {Bytes} bytes ({Variable(offset)})", offset, Variable(offset));
        if ((offset & (uint)(bytes - 1)) != 0)
            throw warp.Failure(op, FailureKind.Misaligned, 1u << lane,
                $"shared address 0x{offset:x} is no multiple of {bytes} ({Variable(offset)})", offset, Variable(offset));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void CheckRead(Warp warp, Op* op, int lane, uint offset, int bytes)
    {
        nuint first = offset >> _granule, end = (offset + (nuint)bytes - 1) >> _granule;
        uint now = Time << 6, entry = now | (uint)lane, span = _full - _start;
        uint* by = _readBy[warp.Index];
        if (end - first == 3)
        {
            Vector128<uint> writes = Vector128.Load(_writeTime + first), since = (writes >>> 6) - Vector128.Create(_start + 1);
            if (Vector128.LessThanAll(since, Vector128.Create(span)) || (IsOneWrite(writes, first) && IsKnown(warp, first)))
            {
                Vector128<uint> nows = Vector128.Create(now), entries = Vector128.Create(entry), olds = Vector128.Load(by + first);
                Vector128.Max(nows, Vector128.Load(_readTime + first)).Store(_readTime + first);
                Vector128<uint> several = Vector128.GreaterThanOrEqual(olds, nows) & ~Vector128.Equals(olds, entries);
                Vector128.ConditionalSelect(several, nows | Vector128.Create(ManyLanes), entries).Store(by + first);
                return;
            }
        }
        for (nuint g = first; g <= end; g++)
        {
            if ((_writeTime[g] >> 6) - _start - 1 >= span && !IsKnown(warp, g)) CheckReadSlowly(warp, op, lane, g);
            _readTime[g] = Math.Max(_readTime[g], now);
            uint old = by[g];
            by[g] = old >= now && old != entry ? now | ManyLanes : entry;
        }
    }

    /// <summary>Four granules were written at one time by one warp or copy.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool IsOneWrite(Vector128<uint> writes, nuint first) =>
        writes == Vector128.Create(writes[0]) && *(ulong*)(_writeWarp + first) == _writeWarp[first] * 0x0001_0001_0001_0001ul;

    /// <summary>The last write is of this block's time, and ordered before what the warp does.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool IsKnown(Warp warp, nuint g)
    {
        uint time = _writeTime[g] >> 6;
        return time > _start && time <= warp.Clock[_writeWarp[g]];
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void CheckReadSlowly(Warp warp, Op* op, int lane, nuint g)
    {
        uint written = _writeTime[g], time = written >> 6;
        uint blamed = 1u << (lane & 31);
        if (lane == (int)ManyLanes) blamed = 1;
        if (written == Pending) throw NotAwaited(warp, op, blamed, g);
        if (time <= _start)
        {
            uint offset = (uint)(g << _granule);
            throw warp.Failure(op, FailureKind.UnwrittenRead, blamed,
                $"{Named(warp, offset)} is read but nothing in the block has written it", offset,
                    Variable(offset));
        }
        int writer = _writeWarp[g];
        if (warp.Knows(writer, written, lane) || (writer == warp.Index && (written & 63) == (uint)lane)) return;
        throw Race(warp, op, blamed, g, writer, written & 63, "read", "wrote");
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void CheckWrite(Warp warp, Op* op, uint lane, uint offset, int bytes)
    {
        nuint end = (offset + (nuint)bytes - 1) >> _granule;
        for (nuint g = offset >> _granule; g <= end; g++) WriteGranule(warp, op, lane, g, (int)lane, requireWritten: false);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void WriteGranule(Warp warp, Op* op, uint entryLane, nuint g, int lane, bool requireWritten)
    {
        uint written = _writeTime[g];
        if (written >> 6 > _full || _readTime[g] >> 6 > _full || requireWritten)
            CheckWriteSlowly(warp, op, entryLane, g, lane, requireWritten);
        _writeTime[g] = Time << 6 | entryLane;
        _writeWarp[g] = (ushort)warp.Index;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void CheckWriteSlowly(Warp warp, Op* op, uint entryLane, nuint g, int lane, bool requireWritten)
    {
        uint written = _writeTime[g], time = written >> 6, blamed = 1u << lane;
        if (written == Pending) throw NotAwaited(warp, op, blamed, g);
        if (_productReads[g] != 0) throw ReadByProduct(warp, op, blamed, (uint)(g << _granule));
        if (requireWritten && time <= _start)
        {
            uint offset = (uint)(g << _granule);
            throw warp.Failure(op, FailureKind.UnwrittenRead, blamed,
                $"{Named(warp, offset)} takes an atomic but nothing in the block has written it", offset,
                    Variable(offset));
        }
        if (time > _full)
        {
            int writer = _writeWarp[g];
            uint writerLane = written & 63;
            bool ordered = warp.Knows(writer, written, lane) || (writer == warp.Index && writerLane == (uint)lane && entryLane != AtomicLane)
                || (entryLane == AtomicLane && writerLane == AtomicLane)
                || (entryLane == AtomicLane && writer == warp.Index && writerLane == (uint)lane);
            if (!ordered) throw Race(warp, op, blamed, g, writer, writerLane, "written", "wrote");
        }
        if (_readTime[g] >> 6 <= _full) return;
        for (int reader = 0; reader < _readBy.Length; reader++)
        {
            if (_readBy[reader] == null) continue;
            uint read = _readBy[reader][g];
            if (read >> 6 <= _full || warp.Knows(reader, read, lane)) continue;
            if (reader == warp.Index && ((read & 63) == (uint)lane || (read & 63) == ProductLane)) continue;
            throw Race(warp, op, blamed, g, reader, read & 63, "written", "read");
        }
    }

    private EmulatorException ReadByProduct(Warp warp, Op* op, uint lanes, uint offset) =>
        warp.Failure(op, FailureKind.WgmmaNotAwaited, lanes,
            $"{Named(warp, offset)} is written while a wgmma reads it: its warpgroup has to wait for it (wgmma.wait_group), and a barrier has to "
            + "follow", offset, Variable(offset));

    private EmulatorException NotAwaited(Warp warp, Op* op, uint lanes, nuint g)
    {
        uint offset = (uint)(g << _granule);
        if (MbarrierAt(offset) is not null)
            return warp.Failure(op, FailureKind.Mbarrier, lanes,
                $"{Named(warp, offset)} is touched by another instruction than those of mbarriers, but an mbarrier lies there", offset,
                    Variable(offset));
        if (CopyInto(offset) is { } copy)
            return warp.Failure(op, FailureKind.BulkNotAwaited, lanes,
                $"{Named(warp, offset)} is touched while the bulk copy of line {copy.Issuer.Code.Instructions[copy.Op->Index]?.Line} into it is "
                + $"under way: the mbarrier at 0x{copy.Barrier.Offset:x} has to be waited for", offset, Variable(offset));
        return warp.Failure(op, FailureKind.CpAsyncNotAwaited, lanes,
            $"{Named(warp, offset)} is touched while a cp.async into it is under way: the thread that issued it has to "
            + "wait for its group, and a barrier has to follow", offset, Variable(offset));
    }

    private EmulatorException Race(Warp warp, Op* op, uint lanes, nuint g, int otherWarp, uint otherLane, string now, string before)
    {
        uint offset = (uint)(g << _granule);
        if (otherWarp >= _peers.Length)
            return warp.Failure(op, FailureKind.BulkNotAwaited, lanes,
                $"{Named(warp, offset)} is {now} here; a bulk copy wrote it, and the warp has neither waited for the phase of the mbarrier at "
                + $"0x{MbarrierOf(otherWarp).Offset:x} that this completed, nor is it ordered behind a warp that has"
                + (warp.Ahead != 0 ? $"; of its own lanes 0x{warp.Ahead:x8} have, with no bar.warp.sync since" : ""), offset, Variable(offset));
        bool same = otherWarp == warp.Index;
        Warp from = _cluster.WarpAt(otherWarp);
        bool foreign = from.Block != warp.Block;
        string other = otherLane < 32 ? $"thread {_block.Shape.Block.At((ulong)from.Number * 32 + otherLane)}"
            : otherLane == AtomicLane ? $"an atomic of warp {from.Number}" : $"several threads of warp {from.Number}";
        if (foreign) other += $" of block {from.Block.Position}";
        string remedy = same ? "no bar.warp.sync or barrier lies between" : foreign
            ? "no cluster barrier lies between that it arrives at with release and this block waits at"
                + OrMbarrier(", and no mbarrier that the two use with .cluster")
            : $"no barrier lies between{OrMbarrier(", and no mbarrier that it arrives at and this warp waits for")}";
        return warp.Failure(
            op, same ? FailureKind.WarpRace : FailureKind.SharedRace, lanes,
            $"{Named(warp, offset)} is {now} here; {other} {before} it, and {remedy}", offset, Variable(offset));
    }

    private string Named(Warp warp, uint offset) =>
        $"shared address 0x{offset:x} ({Variable(offset)}{(warp.Block == _block ? "" : $", of block {_block.Position}")})";

    private string Variable(uint offset)
    {
        PtxEntry entry = _block.Code.Entry;
        PtxVariable? found = _block.Code.SharedVariables.Where(v => !v.Extern).FirstOrDefault(v => offset >= v.Offset
            && offset < v.Offset + v.Bytes);
        if (found is not null) return $"{found.Name}+{offset - found.Offset}";
        return offset >= entry.DynamicSharedOffset ? $"dynamic shared memory+{offset - entry.DynamicSharedOffset}"
            : "between shared variables";
    }
}
