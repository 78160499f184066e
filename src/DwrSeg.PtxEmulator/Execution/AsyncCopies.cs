using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace DwrSeg.PtxEmulator.Execution;

/// <summary>The <c>cp.async</c> copies of a warp that have not been waited for: each lane's, in groups, oldest first.</summary>
internal sealed unsafe class AsyncCopies : IDisposable
{
    private const int NotCommitted = int.MaxValue;

    private readonly int[] _groups = new int[32];
    private Copy* _copies = (Copy*)NativeMemory.Alloc(64, (nuint)sizeof(Copy));
    private int _capacity = 64;
    private int _count;

    internal struct Copy
    {
        public uint Offset;
        public int Bytes;
        public int Lane;
        public int Group;
        public fixed byte Data[16];
    }

    public int Count => _count;

    public void Clear()
    {
        _count = 0;
        Array.Clear(_groups);
    }

    public Copy* Add(int lane, uint offset, int bytes)
    {
        if (_count == _capacity)
        {
            _capacity *= 2;
            _copies = (Copy*)NativeMemory.Realloc(_copies, (nuint)(_capacity * sizeof(Copy)));
        }
        Copy* copy = _copies + _count++;
        (copy->Lane, copy->Offset, copy->Bytes, copy->Group) = (lane, offset, bytes, NotCommitted);
        return copy;
    }

    /// <summary>Makes one group of each lane's copies since its last commit.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Commit(uint lanes)
    {
        for (int i = _count - 1; i >= 0; i--)
        {
            Copy* copy = _copies + i;
            if (copy->Group == NotCommitted && (lanes >> copy->Lane & 1) != 0) copy->Group = _groups[copy->Lane];
        }
        for (uint left = lanes; left != 0; left &= left - 1) _groups[BitOperations.TrailingZeroCount(left)]++;
    }

    /// <summary>Ends all groups of these lanes but the newest <paramref name="pending"/>; a negative number ends everything.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Wait(Warp warp, uint lanes, int pending)
    {
        int kept = 0;
        for (int i = 0; i < _count; i++)
        {
            Copy* copy = _copies + i;
            bool done = (lanes >> copy->Lane & 1) != 0
                && (pending < 0 || (copy->Group != NotCommitted && copy->Group < _groups[copy->Lane] - pending));
            if (done) warp.Block.Shared.Arrive(warp, copy);
            else if (kept++ != i) _copies[kept - 1] = *copy;
        }
        _count = kept;
    }

    public void Dispose()
    {
        NativeMemory.Free(_copies);
        _copies = null;
    }
}
