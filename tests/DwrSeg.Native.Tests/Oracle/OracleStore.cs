using DwrSeg.Native.Backends;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Tests.Oracle;

/// <summary>Parameters and state by name, in float64.</summary>
internal sealed class OracleStore : ITensorStore
{
    private readonly Dictionary<string, Values> _values = [];
    private readonly OrderedDictionary<string, Shape> _shapes = [];

    public IReadOnlyDictionary<string, Shape> Entries => _shapes;

    /// <summary>The entry itself: what is written to it here, plans see.</summary>
    public Values this[string name] => _values.TryGetValue(name, out Values? values)
        ? values : throw new KeyNotFoundException($"The store has no entry '{name}'.");

    public void Add(string name, Shape shape)
    {
        if (_values.TryAdd(name, new Values(shape))) _shapes.Add(name, shape);
        else if (_shapes[name] != shape) throw new InvalidOperationException($"The store's '{name}' is {_shapes[name]}, not {shape}.");
    }

    public void Read(string name, Span<float> values) => Convert(this[name].Data, values);

    public void Write(string name, ReadOnlySpan<float> values) => Convert(values, this[name].Data);

    public void Dispose()
    {
    }

    internal static void Convert(ReadOnlySpan<double> from, Span<float> to)
    {
        RequireSameLength(from.Length, to.Length);
        for (int i = 0; i < to.Length; i++) to[i] = (float)from[i];
    }

    internal static void Convert(ReadOnlySpan<float> from, Span<double> to)
    {
        RequireSameLength(from.Length, to.Length);
        for (int i = 0; i < to.Length; i++) to[i] = from[i];
    }

    internal static void RequireSameLength(int from, int to)
    {
        if (from != to) throw new ArgumentException($"{from} values do not fill a tensor of {to}.");
    }
}
