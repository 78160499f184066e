namespace DwrSeg.Native.Graph;

/// <summary>
/// Where each tensor of a plan lies in one arena. Tensors whose lives (first to last step that touches them) overlap never share memory.
/// Largest first, each at the lowest offset that fits, which for these graphs comes within a few percent of the peak of live bytes.
/// </summary>
internal sealed class MemoryPlan
{
    /// <summary>Offsets are multiples of this, a cache line and the widest vector.</summary>
    public const long Alignment = 64;

    private readonly Dictionary<Tensor, Place> _places;

    private MemoryPlan(Dictionary<Tensor, Place> places, long guard)
    {
        _places = places;
        Bytes = places.Count == 0 ? 0 : places.Values.Max(p => p.Offset + p.Bytes + guard);
        UnsharedBytes = places.Values.Sum(p => p.Bytes);
    }

    /// <summary>A tensor's place and the steps, both included, between which it holds a value.</summary>
    public readonly record struct Place(long Offset, long Bytes, int FirstStep, int LastStep);

    /// <summary>Size of the arena.</summary>
    public long Bytes { get; }

    /// <summary>What the tensors would take without sharing.</summary>
    public long UnsharedBytes { get; }

    /// <summary>The places by tensor.</summary>
    public IReadOnlyDictionary<Tensor, Place> Places => _places;

    /// <summary>Plans the arena.</summary>
    /// <param name="steps">For each step in order the tensors that it touches.</param>
    /// <param name="bytes">Size of a tensor on the device.</param>
    /// <param name="isLasting">Tensors that hold their value throughout: inputs, outputs, folded weights.</param>
    /// <param name="guard">Bytes to leave free around every tensor; with a guard no memory is shared, so that a stray write meets a guard zone
    /// and a stale read meets poison.</param>
    public static MemoryPlan Create(
        IReadOnlyList<IReadOnlyCollection<Tensor>> steps, Func<Tensor, long> bytes, Func<Tensor, bool> isLasting, long guard = 0)
    {
        var lives = new Dictionary<Tensor, (int First, int Last)>();
        for (int step = 0; step < steps.Count; step++)
        {
            foreach (Tensor tensor in steps[step])
            {
                bool isKnown = lives.TryGetValue(tensor, out (int First, int Last) life);
                lives[tensor] = (isKnown ? life.First : step, step);
            }
        }
        foreach (Tensor tensor in lives.Keys.Where(t => guard > 0 || isLasting(t)).ToArray()) lives[tensor] = (0, steps.Count);

        var places = new Dictionary<Tensor, Place>(lives.Count);
        var inOffsetOrder = new List<Place>(lives.Count);
        foreach (Tensor tensor in lives.Keys.OrderByDescending(bytes).ThenBy(t => t.Id))
        {
            (int first, int last) = lives[tensor];
            long size = Align(bytes(tensor));
            long offset = guard;
            foreach (Place other in inOffsetOrder)
            {
                if (other.LastStep < first || last < other.FirstStep) continue;
                if (other.Offset - guard >= offset + size) break;
                offset = Math.Max(offset, other.Offset + other.Bytes + guard);
            }
            var place = new Place(offset, size, first, last);
            places.Add(tensor, place);
            int position = inOffsetOrder.FindIndex(p => p.Offset > offset);
            inOffsetOrder.Insert(position < 0 ? inOffsetOrder.Count : position, place);
        }
        return new MemoryPlan(places, guard);
    }

    private static long Align(long bytes) => (bytes + Alignment - 1) / Alignment * Alignment;
}
