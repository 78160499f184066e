using System.Numerics;

namespace DwrSeg.PtxEmulator.Execution;

/// <summary>
/// Gives virtual registers places in the warp's frame. Registers whose lives do not overlap share a place: unrolled kernels name thousands
/// of registers, and a frame of that size would not stay in the cache.
/// </summary>
internal static class RegisterPlaces
{
    /// <summary>Bytes of each kind of register: predicates, 32-bit and 64-bit lanes.</summary>
    private static readonly int[] Sizes = [4, 128, 256];

    /// <param name="kinds">For each register its kind, as a position in <see cref="Sizes"/>.</param>
    /// <param name="blocks">First operation and the one behind the last of each block.</param>
    /// <param name="successors">Blocks that follow each block.</param>
    /// <param name="reads">Registers that each operation reads; a guarded write reads too, since it leaves lanes as they were.</param>
    /// <param name="writes">Registers that each operation writes.</param>
    /// <param name="start">Where places may begin.</param>
    /// <returns>The place of each register, and the end of the frame.</returns>
    public static (int[] Places, int End) Assign(
        IReadOnlyList<int> kinds, IReadOnlyList<(int Start, int End)> blocks, IReadOnlyList<int>[] successors, IReadOnlyList<int>[] reads,
            IReadOnlyList<int>[] writes, int start)
    {
        int count = kinds.Count, words = (count + 63) / 64;
        var liveIn = new ulong[blocks.Count][];
        var liveOut = new ulong[blocks.Count][];
        var used = new ulong[blocks.Count][];
        var defined = new ulong[blocks.Count][];
        for (int b = 0; b < blocks.Count; b++)
        {
            (liveIn[b], liveOut[b], used[b], defined[b]) = (new ulong[words], new ulong[words], new ulong[words], new ulong[words]);
            for (int i = blocks[b].Start; i < blocks[b].End; i++)
            {
                foreach (int r in reads[i]) if ((defined[b][r >> 6] >> (r & 63) & 1) == 0) used[b][r >> 6] |= 1ul << (r & 63);
                foreach (int r in writes[i]) defined[b][r >> 6] |= 1ul << (r & 63);
            }
        }
        for (bool changed = true; changed;)
        {
            changed = false;
            for (int b = blocks.Count - 1; b >= 0; b--)
            {
                for (int w = 0; w < words; w++)
                {
                    ulong live = 0;
                    foreach (int s in successors[b]) live |= liveIn[s][w];
                    liveOut[b][w] = live;
                    live = used[b][w] | (live & ~defined[b][w]);
                    changed |= live != liveIn[b][w];
                    liveIn[b][w] = live;
                }
            }
        }

        int[] first = new int[count], last = new int[count];
        Array.Fill(first, int.MaxValue);
        Array.Fill(last, -1);
        void Touch(int register, int at)
        {
            first[register] = Math.Min(first[register], at);
            last[register] = Math.Max(last[register], at);
        }
        for (int b = 0; b < blocks.Count; b++)
        {
            for (int w = 0; w < words; w++)
            {
                for (ulong bits = liveIn[b][w]; bits != 0; bits &= bits - 1)
                    Touch(w * 64 + BitOperations.TrailingZeroCount(bits), blocks[b].Start);
                for (ulong bits = liveOut[b][w]; bits != 0; bits &= bits - 1)
                    Touch(w * 64 + BitOperations.TrailingZeroCount(bits), blocks[b].End);
            }
            for (int i = blocks[b].Start; i < blocks[b].End; i++)
            {
                foreach (int r in reads[i]) Touch(r, i);
                foreach (int r in writes[i]) Touch(r, i);
            }
        }

        int[] places = new int[count];
        var free = new Stack<int>[] { new(), new(), new() };
        var active = new PriorityQueue<int, int>();
        int end = start;
        foreach (int register in Enumerable.Range(0,
            count).Where(r => last[r] >= 0).OrderByDescending(r => Sizes[kinds[r]] > 4).ThenBy(r => first[r]))
        {
            // A place is free again only after the operation that reads it last, so that no operation writes over its own inputs.
            while (active.TryPeek(out int oldest, out int until) && until < first[register])
            {
                active.Dequeue();
                free[kinds[oldest]].Push(places[oldest]);
            }
            if (!free[kinds[register]].TryPop(out places[register]))
            {
                if (kinds[register] > 0) end = (end + 63) / 64 * 64;
                places[register] = end;
                end += Sizes[kinds[register]];
            }
            active.Enqueue(register, last[register]);
        }
        return (places, end);
    }
}
