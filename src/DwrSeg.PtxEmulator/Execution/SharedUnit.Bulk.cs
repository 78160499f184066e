using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace DwrSeg.PtxEmulator.Execution;

/// <summary>The block's mbarriers, and bulk copies into its memory.</summary>
/// <remarks>
/// A copy lands as late as it may: when a warp waits for its mbarrier. Until then its target, like an mbarrier's eight bytes always, is marked as
/// pending, which sends every access to the slow checks. From then on who wrote it is its mbarrier, whose entry in a warp's clock is the time of
/// the last phase that the warp has seen complete.
/// </remarks>
internal sealed unsafe partial class SharedUnit
{
    private const uint CopyLane = 60;

    private readonly List<Mbarrier> _mbarriers = [];
    private readonly List<BulkCopy> _copies = [];

    // For each warp of the cluster's other blocks when it last arrived at an mbarrier here, or announced bytes.
    private readonly PeerAccess[] _arrivals;

    public void AddClock()
    {
        foreach (Mbarrier barrier in _mbarriers) barrier.AddEntry();
    }

    public void InitMbarrier(Warp warp, Op* op, int lane, uint offset, uint count)
    {
        CheckLane(warp, op, lane, offset, Mbarrier.Bytes);
        if (count is 0 or > Mbarrier.Most)
            throw warp.Failure(op, FailureKind.InvalidOperation, 1u << lane, $"an mbarrier for {count} arrivals; it takes 1 to {Mbarrier.Most}");
        Mbarrier? barrier = _mbarriers.Find(b => b.Offset == offset);
        if (barrier is { IsLive: true })
            throw Misused(warp, op, lane, offset, "is initialised while an mbarrier lives there: mbarrier.inval has to come first");
        if (_strict) CheckWrite(warp, op, (uint)lane, offset, Mbarrier.Bytes);
        Granules(offset, Mbarrier.Bytes, out nuint first, out int granules);
        new Span<uint>(_writeTime + first, granules).Fill(Pending);
        if (barrier is null)
        {
            int entry = _cluster.AddClock();
            barrier = new Mbarrier(offset, entry, entry + 1);
            _mbarriers.Add(barrier);
        }
        _cluster.Progress++;
        barrier.Begin(count, warp, lane, _cluster.Tick());
        warp.Clock[barrier.Entry] = barrier.InitTime;
    }

    public void InvalidateMbarrier(Warp warp, Op* op, int lane, uint offset)
    {
        Mbarrier barrier = Find(warp, op, lane, offset);
        if (_copies.Exists(c => c.Barrier == barrier))
            throw Misused(warp, op, lane, offset, "is invalidated while a bulk copy that it counts is under way");
        barrier.IsLive = false;
        Granules(offset, Mbarrier.Bytes, out nuint first, out int granules);
        for (nuint g = first; g < first + (nuint)granules; g++)
        {
            _writeTime[g] = Time << 6 | (uint)lane;
            _writeWarp[g] = (ushort)warp.Index;
        }
    }

    /// <summary>Adds bytes that a phase waits for.</summary>
    public void ExpectBytes(Warp warp, Op* op, int lane, uint offset, uint bytes)
    {
        Mbarrier barrier = Reach(warp, op, lane, offset);
        if (bytes > Mbarrier.Most || barrier.PendingBytes + bytes > Mbarrier.Most)
            throw Misused(warp, op, lane, offset, $"is to wait for {bytes} bytes on top of {barrier.PendingBytes}; it counts up to {Mbarrier.Most}");
        _cluster.Progress++;
        barrier.PendingBytes += bytes;
        barrier.CompleteIfDone(_cluster);
    }

    /// <summary>One lane's arrival.</summary>
    /// <param name="warp">The warp, maybe another block's.</param>
    /// <param name="op">The instruction.</param>
    /// <param name="lane">The lane.</param>
    /// <param name="offset">Where the mbarrier is.</param>
    /// <param name="count">For how many it stands.</param>
    /// <param name="bytes">Bytes that the phase waits for from now on.</param>
    /// <param name="inCluster">The arrival's scope is the cluster.</param>
    /// <returns>The phase.</returns>
    public uint ArriveAtMbarrier(Warp warp, Op* op, int lane, uint offset, uint count, uint bytes, bool inCluster)
    {
        Mbarrier barrier = Reach(warp, op, lane, offset);
        if (count == 0 || count > barrier.Pending)
            throw Misused(warp, op, lane, offset,
                $"takes {count} more arrivals, but its phase {barrier.Phase} waits for {barrier.Pending} of {barrier.Count}");
        // PTX orders nothing between blocks where the scope is less than the cluster. Devices do with what was read, which has come by then, and the
        // pipelines of CUTLASS tell each other so of free places: that is taken for an order that waits of any scope see.
        barrier.Release(warp, _cluster.Tick(), warp.Block != _block && inCluster);
        if (bytes > 0) ExpectBytes(warp, op, lane, offset, bytes);
        _cluster.Progress++;
        uint phase = barrier.Phase;
        barrier.Pending -= count;
        barrier.CompleteIfDone(_cluster);
        return phase;
    }

    /// <summary>Lanes look whether the phase of a parity is complete.</summary>
    public bool TestMbarrier(Warp warp, Op* op, uint lanes, uint offset, uint parity, bool fromCluster, out Mbarrier barrier)
    {
        for (uint left = lanes & (lanes - 1); left != 0; left &= left - 1) Find(warp, op, BitOperations.TrailingZeroCount(left), offset);
        barrier = Find(warp, op, BitOperations.TrailingZeroCount(lanes), offset);
        if (parity > 1) throw warp.Failure(op, FailureKind.InvalidOperation, lanes, $"a parity is 0 or 1, not {parity}");
        if (!barrier.IsComplete(parity)) return false;
        barrier.Acquire(warp, lanes, fromCluster);
        return true;
    }

    /// <summary>Copies under way to an mbarrier land, which may complete its phase.</summary>
    public void Land(Mbarrier barrier)
    {
        for (int i = 0; i < _copies.Count; i++)
        {
            BulkCopy copy = _copies[i];
            if (copy.Barrier != barrier) continue;
            _copies.RemoveAt(i--);
            Land(copy);
        }
    }

    /// <summary>The async proxy sees the initialisation of the mbarriers that these lanes know of.</summary>
    public void ShowMbarriers(Warp warp)
    {
        foreach (Mbarrier barrier in _mbarriers)
        {
            if (!barrier.IsLive || !Knows(warp, BitOperations.TrailingZeroCount(warp.Mask), barrier)) continue;
            warp.AsyncClock[barrier.Entry] = Math.Max(warp.AsyncClock[barrier.Entry], barrier.InitTime);
        }
    }

    /// <summary>The same for those that these lanes have initialised, and for the cluster's other blocks behind its barrier.</summary>
    public void FenceMbarriers(Warp warp)
    {
        foreach (Mbarrier barrier in _mbarriers)
        {
            if (!barrier.IsLive || barrier.InitWarp != warp.Index || (warp.Mask >> barrier.InitLane & 1) == 0) continue;
            foreach (uint[] clock in (ReadOnlySpan<uint[]>)[warp.AsyncClock, warp.Fenced, warp.AsyncFenced])
                clock[barrier.Entry] = Math.Max(clock[barrier.Entry], barrier.InitTime);
        }
    }

    /// <summary>Issues a bulk copy into this block's memory.</summary>
    public void IssueBulk(Warp warp, Op* op, int lane, uint offset, uint barrierOffset, byte[] data)
    {
        uint bytes = (uint)data.Length;
        if (warp.Block != _block && _strict) CheckPeer(warp, op, 1u << lane);
        if (offset > Bytes || bytes > Bytes - offset)
            throw warp.Failure(op, FailureKind.OutOfBounds, 1u << lane,
                $"a bulk copy of {bytes} bytes to {Named(warp, offset)}, of {Bytes} bytes", offset, Variable(offset));
        if (offset % 16 != 0)
            throw warp.Failure(op, FailureKind.Misaligned, 1u << lane,
                $"a bulk copy to {Named(warp, offset)}, no multiple of 16", offset, Variable(offset));
        Mbarrier barrier = Find(warp, op, lane, barrierOffset);
        if (_strict && !warp.Shows(barrier.Entry, barrier.InitTime, lane))
            throw Misused(warp, op, lane, barrierOffset,
                "is to count a bulk copy's bytes, but nothing has made its initialisation visible to these: fence.mbarrier_init or fence.proxy.async "
                + "by the thread that initialised it, and a barrier behind that");
        Granules(offset, bytes, out nuint first, out int granules);
        if (_strict)
        {
            CheckCopyOverWrites(warp, op, lane, first, granules);
            CheckCopyOverReads(warp, op, lane, first, granules);
        }
        new Span<uint>(_writeTime + first, granules).Fill(Pending);
        // What a kernel reads too early shall not look right.
        new Span<byte>(Data + offset, (int)bytes).Fill(0xff);
        _copies.Add(new BulkCopy(barrier, offset, data, warp, lane, op));
        ref Counters counters = ref warp.Block.Counters[op->Index];
        counters.SharedAccesses++;
        counters.SharedWavefronts += (bytes + 127) / 128;
        if (warp.Block != _block) counters.MulticastBytes += bytes;
    }

    private void BeginBulk()
    {
        foreach (BulkCopy copy in _copies) Forget(copy.Offset, (uint)copy.Data.Length);
        _copies.Clear();
        foreach (Mbarrier barrier in _mbarriers)
        {
            if (barrier.IsLive) Forget(barrier.Offset, Mbarrier.Bytes);
            barrier.IsLive = false;
            barrier.Landed = 0;
        }

        void Forget(uint offset, uint bytes)
        {
            Granules(offset, bytes, out nuint first, out int granules);
            new Span<uint>(_writeTime + first, granules).Clear();
        }
    }

    private void EndBulk()
    {
        if (_copies.Count == 0) return;
        BulkCopy copy = _copies[0];
        throw copy.Issuer.Failure(copy.Op, FailureKind.BulkNotAwaited, 1u << copy.Lane,
            $"block {_block.Position} ends with this bulk copy into its shared memory under way: nobody has waited for the mbarrier at "
            + $"0x{copy.Barrier.Offset:x}", copy.Offset, Variable(copy.Offset));
    }

    /// <summary>Everything that bulk copies wrote is known to those that came to a barrier.</summary>
    private bool KnowsBulk(BarrierState barrier)
    {
        foreach (Mbarrier mbarrier in _mbarriers) if (mbarrier.Landed > barrier.Clock[mbarrier.Entry]) return false;
        return true;
    }

    private void Land(BulkCopy copy)
    {
        copy.Data.CopyTo(new Span<byte>(Data + copy.Offset, copy.Data.Length));
        Granules(copy.Offset, (uint)copy.Data.Length, out nuint first, out int granules);
        new Span<uint>(_writeTime + first, granules).Fill(Time << 6 | CopyLane);
        new Span<ushort>(_writeWarp + first, granules).Fill((ushort)copy.Barrier.Entry);
        copy.Barrier.Landed = Time;
        copy.Barrier.PendingBytes -= copy.Data.Length;
        _cluster.Progress++;
        copy.Barrier.CompleteIfDone(_cluster);
    }

    /// <summary>What a bulk copy overwrites has to be written before it is issued, and visible to the async proxy.</summary>
    private void CheckCopyOverWrites(Warp warp, Op* op, int lane, nuint first, int granules)
    {
        uint full = warp.Block == _block ? Math.Min(_full, _fullAsync) : _start;
        uint lastEntry = 0;
        int lastWriter = -1;
        for (nuint g = first; g < first + (nuint)granules; g++)
        {
            uint written = _writeTime[g], time = written >> 6;
            if (time <= full && _productReads[g] == 0) continue;
            int writer = _writeWarp[g];
            if (written == lastEntry && writer == lastWriter && _productReads[g] == 0) continue;
            uint offset = (uint)(g << _granule);
            if (written == Pending) throw NotAwaited(warp, op, 1u << lane, g);
            if (_productReads[g] != 0) throw ReadByProduct(warp, op, 1u << lane, offset);
            bool isOwn = writer == warp.Index && (written & 63) == (uint)lane;
            if (!isOwn && !warp.Knows(writer, written, lane)) throw Race(warp, op, 1u << lane, g, writer, written & 63, "written", "wrote");
            if (writer < _peers.Length && !warp.Shows(writer, time, lane))
            {
                throw warp.Failure(op, FailureKind.ProxyFence, 1u << lane,
                    $"{Named(warp, offset)} was written by warp {_cluster.WarpAt(writer).Number}, and no fence.proxy.async of the whole warp lies "
                    + "between that and the bulk copy that overwrites it", offset, Variable(offset));
            }
            (lastEntry, lastWriter) = (written, writer);
        }
    }

    /// <summary>What a bulk copy overwrites has to be read before it is issued.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void CheckCopyOverReads(Warp warp, Op* op, int lane, nuint first, int granules)
    {
        uint full = warp.Block == _block ? _full : _start;
        if (Latest(_readTime + first, granules) >> 6 <= full) return;
        for (int reader = 0; reader < _readBy.Length; reader++)
        {
            uint* by = _readBy[reader];
            uint known = Math.Max(full, warp.Clock[reader]);
            if (by == null || Latest(by + first, granules) >> 6 <= known) continue;
            uint last = 0;
            for (nuint g = first; g < first + (nuint)granules; g++)
            {
                uint read = by[g], with = read & 63;
                if (read >> 6 <= known || read == last) continue;
                last = read;
                if (warp.Knows(reader, read, lane) || (reader == warp.Index && (with == (uint)lane || with == ProductLane))) continue;
                throw Race(warp, op, 1u << lane, g, reader, with, "written", "read");
            }
        }
    }

    /// <summary>The largest of some entries, which are a multiple of four.</summary>
    private static uint Latest(uint* entries, int count)
    {
        Vector128<uint> latest = default;
        int i = 0;
        for (; i + 4 <= count; i += 4) latest = Vector128.Max(latest, Vector128.Load(entries + i));
        uint most = Math.Max(Math.Max(latest[0], latest[1]), Math.Max(latest[2], latest[3]));
        for (; i < count; i++) most = Math.Max(most, entries[i]);
        return most;
    }

    private void Granules(uint offset, uint bytes, out nuint first, out int count)
    {
        first = offset >> _granule;
        count = (int)(bytes >> _granule);
    }

    /// <summary>The mbarrier that an address lies in.</summary>
    private Mbarrier? MbarrierAt(uint offset)
    {
        foreach (Mbarrier barrier in _mbarriers) if (barrier.IsLive && offset - barrier.Offset < Mbarrier.Bytes) return barrier;
        return null;
    }

    private Mbarrier MbarrierOf(int entry) => _mbarriers.First(b => b.Entry == entry);

    private BulkCopy? CopyInto(uint offset) => _copies.Find(c => offset - c.Offset < (uint)c.Data.Length);

    private string OrMbarrier(string text) => _cluster.Clocks > _peers.Length ? text : "";

    /// <summary>The mbarrier at an address, for a lane that may use it.</summary>
    private Mbarrier Find(Warp warp, Op* op, int lane, uint offset)
    {
        CheckLane(warp, op, lane, offset, Mbarrier.Bytes);
        Mbarrier? barrier = MbarrierAt(offset);
        if (barrier is null || barrier.Offset != offset) throw Misused(warp, op, lane, offset, "is no mbarrier: mbarrier.init has to come first");
        if (_strict && !Knows(warp, lane, barrier))
        {
            Warp by = _cluster.WarpAt(barrier.InitWarp);
            string remedy = by.Block == warp.Block ? "no barrier lies between"
                : "no cluster barrier lies between that it arrives at with release or behind fence.mbarrier_init";
            Index3 thread = _block.Shape.Block.At((ulong)(by.Number * 32 + barrier.InitLane));
            throw Misused(warp, op, lane, offset, $"was made an mbarrier by thread {thread}, and {remedy}");
        }
        return barrier;
    }

    /// <summary>The same for a lane that may be another block's.</summary>
    private Mbarrier Reach(Warp warp, Op* op, int lane, uint offset)
    {
        bool isPeer = warp.Block != _block;
        if (isPeer && _strict) CheckPeer(warp, op, 1u << lane);
        Mbarrier barrier = Find(warp, op, lane, offset);
        if (isPeer) _arrivals[warp.Index] = new PeerAccess { Time = Time, Lanes = 1u << lane, Op = op, Entry = barrier.Entry };
        return barrier;
    }

    private static bool Knows(Warp warp, int lane, Mbarrier barrier) =>
        warp.Knows(barrier.Entry, barrier.InitTime << 6, lane)
        && (warp.Index != barrier.InitWarp || lane == barrier.InitLane || warp.Clock[warp.Index] >= barrier.InitTime);

    public string Describe(Mbarrier barrier) =>
        $"the mbarrier at shared address 0x{barrier.Offset:x} ({Variable(barrier.Offset)}) waits in its phase {barrier.Phase} for "
        + $"{barrier.Pending} of {barrier.Count} arrivals and for {barrier.PendingBytes} bytes";

    private EmulatorException Misused(Warp warp, Op* op, int lane, uint offset, string problem) =>
        warp.Failure(op, FailureKind.Mbarrier, 1u << lane, $"{Named(warp, offset)} {problem}", offset, Variable(offset));
}
