using System.Runtime.InteropServices;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cpu;

/// <summary>Parameters and state in native memory, so that plans can keep their addresses.</summary>
internal sealed unsafe class CpuStore : ITensorStore
{
    private readonly OrderedDictionary<string, Shape> _entries = [];
    private readonly Dictionary<string, nint> _addresses = [];

    ~CpuStore() => Free();

    public IReadOnlyDictionary<string, Shape> Entries => _entries;

    /// <summary>Where an entry's values lie; constant as long as the store lives.</summary>
    public float* AddressOf(string name) => (float*)_addresses[name];

    public void Add(string name, Shape shape)
    {
        if (_entries.TryGetValue(name, out Shape known))
        {
            if (known != shape) throw new InvalidOperationException($"The store holds '{name}' as {known}; the graph needs {shape}.");
            return;
        }
        nuint bytes = (nuint)(shape.Elements * sizeof(float));
        void* memory = NativeMemory.AlignedAlloc(bytes, (nuint)MemoryPlan.Alignment);
        NativeMemory.Clear(memory, bytes);
        _entries.Add(name, shape);
        _addresses.Add(name, (nint)memory);
    }

    public void Read(string name, Span<float> values) => SpanOf(name, values.Length).CopyTo(values);

    public void Write(string name, ReadOnlySpan<float> values) => values.CopyTo(SpanOf(name, values.Length));

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private Span<float> SpanOf(string name, int length)
    {
        if (!_entries.TryGetValue(name, out Shape shape)) throw new KeyNotFoundException($"The store has no tensor '{name}'.");
        if (shape.Elements != length) throw new ArgumentException($"'{name}' is {shape}, {shape.Elements} values; {length} were given.", name);
        return new Span<float>(AddressOf(name), length);
    }

    private void Free()
    {
        foreach (nint address in _addresses.Values) NativeMemory.AlignedFree((void*)address);
        _addresses.Clear();
        _entries.Clear();
    }
}
