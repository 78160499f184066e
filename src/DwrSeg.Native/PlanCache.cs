using DwrSeg.Native.Backends;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;

namespace DwrSeg.Native;

/// <summary>
/// The inference plans of the last few input sizes. Each holds an arena and packed weights, so their number is bounded, and they go where
/// a new one needs their memory; looking one up allocates nothing.
/// </summary>
internal sealed class PlanCache(Func<(int Height, int Width), IPlan> compile) : IDisposable
{
    /// <summary>Sizes kept: enough for a camera's landscape and portrait beside two others.</summary>
    public const int Capacity = 4;

    // Most recently used first.
    private readonly Entry?[] _entries = new Entry?[Capacity];

    /// <summary>A plan with what its callers touch.</summary>
    public sealed record Entry((int Height, int Width) Size, IPlan Plan, Tensor Image, Tensor Logits);

    /// <summary>The sizes at hand, the most recently used first.</summary>
    public IEnumerable<(int Height, int Width)> Sizes => _entries.OfType<Entry>().Select(e => e.Size);

    /// <summary>The plan for an input size; the least recently used one makes room for a new one.</summary>
    public Entry Get((int Height, int Width) size)
    {
        int position = 0;
        while (position < Capacity && _entries[position] is { } entry && entry.Size != size) position++;
        if (position < Capacity && _entries[position] is { } known) return MoveToFront(known, position);
        if (position == Capacity)
        {
            position = Capacity - 1;
            // Freed before the new one is made: two arenas at once could be too much.
            _entries[position]!.Plan.Dispose();
            _entries[position] = null;
        }
        IPlan plan = Compile(size, ref position);
        return MoveToFront(new Entry(size, plan, plan.Graph[DwrSegModel.Image], plan.Graph[DwrSegModel.Logits]), position);
    }

    // A plan that finds too little memory gets that of the plans kept, the least recently used first.
    private IPlan Compile((int Height, int Width) size, ref int count)
    {
        while (true)
        {
            try
            {
                return compile(size);
            }
            catch (Exception e) when (count > 0 && MemoryShortage.Is(e))
            {
                _entries[--count]!.Plan.Dispose();
                _entries[count] = null;
            }
        }
    }

    public void Dispose()
    {
        foreach (Entry? entry in _entries) entry?.Plan.Dispose();
        Array.Clear(_entries);
    }

    private Entry MoveToFront(Entry entry, int from)
    {
        Array.Copy(_entries, 0, _entries, 1, from);
        return _entries[0] = entry;
    }
}
