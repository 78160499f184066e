using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// Parameters and state in device memory, fp32, so that plans can keep their addresses. Plans that change them must not be made, run or disposed while
/// another thread uses the store.
/// </summary>
internal sealed class CudaStore(CudaContext context) : ITensorStore
{
    private readonly OrderedDictionary<string, Shape> _entries = [];
    private readonly Dictionary<string, CudaDeviceVariable<float>> _values = [];
    private readonly CudaStream _stream = new(context);
    private readonly List<CudaStream> _writers = [];

    public IReadOnlyDictionary<string, Shape> Entries => _entries;

    /// <summary>Where an entry's values lie; constant as long as the store lives.</summary>
    public CUdeviceptr AddressOf(string name) => _values[name].DevicePointer;

    public void Add(string name, Shape shape)
    {
        if (_entries.TryGetValue(name, out Shape known))
        {
            if (known != shape) throw new InvalidOperationException($"The store holds '{name}' as {known}; the graph needs {shape}.");
            return;
        }
        var values = new CudaDeviceVariable<float>(context, shape.Elements);
        try
        {
            values.MemsetAsync(0, _stream);
            _stream.Synchronize();
        }
        catch
        {
            values.Dispose();
            throw;
        }
        _entries.Add(name, shape);
        _values.Add(name, values);
    }

    public void Read(string name, Span<float> values)
    {
        AwaitWriters();
        Find(name, values.Length).CopyToHost(values, _stream);
    }

    public void Write(string name, ReadOnlySpan<float> values)
    {
        AwaitWriters();
        Find(name, values.Length).CopyToDevice(values, _stream);
    }

    /// <summary>Entries' values by name, in host memory.</summary>
    public sealed class Values : Dictionary<string, float[]>;

    /// <summary>What these entries hold.</summary>
    public Values Keep(IEnumerable<string> names)
    {
        var values = new Values();
        foreach (string name in names)
        {
            var kept = new float[_entries[name].Elements];
            Read(name, kept);
            values.TryAdd(name, kept);
        }
        return values;
    }

    /// <summary>Puts back what was kept.</summary>
    public void Restore(Values values)
    {
        foreach ((string name, float[] kept) in values) Write(name, kept);
    }

    /// <summary>Notes that work on a stream updates entries, until <see cref="RemoveWriter"/>.</summary>
    public void AddWriter(CudaStream stream) => _writers.Add(stream);

    /// <summary>Forgets a stream, which need not be known.</summary>
    public void RemoveWriter(CudaStream stream) => _writers.Remove(stream);

    /// <summary>Waits until no update is under way.</summary>
    public void AwaitWriters()
    {
        foreach (CudaStream stream in _writers) stream.Synchronize();
    }

    public void Dispose()
    {
        foreach (CudaDeviceVariable<float> values in _values.Values) values.Dispose();
        _values.Clear();
        _entries.Clear();
        _stream.Dispose();
    }

    private CudaDeviceVariable<float> Find(string name, int length)
    {
        if (!_values.TryGetValue(name, out CudaDeviceVariable<float>? values)) throw new KeyNotFoundException($"The store has no tensor '{name}'.");
        if (values.Size != length) throw new ArgumentException($"'{name}' is {_entries[name]}, {values.Size} values; {length} were given.", name);
        return values;
    }
}
