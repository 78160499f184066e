using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Parameters and state in device memory, fp32, so that plans can keep their addresses.</summary>
internal sealed class CudaStore(CudaContext context) : ITensorStore
{
    private readonly OrderedDictionary<string, Shape> _entries = [];
    private readonly Dictionary<string, CudaDeviceVariable<float>> _values = [];
    private readonly CudaStream _stream = new(context);
    private readonly List<CudaStream> _changing = [];

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

    /// <summary>Notes that work on a stream changes values: reading and writing them wait for what it has been given by then.</summary>
    public void WaitFor(CudaStream stream) => _changing.Add(stream);

    /// <summary>The stream changes values no more.</summary>
    public void Forget(CudaStream stream) => _changing.Remove(stream);

    /// <summary>Returns when what was asked of plans that change values is done.</summary>
    public void AwaitChanges()
    {
        foreach (CudaStream stream in _changing) stream.Synchronize();
    }

    public void Read(string name, Span<float> values)
    {
        CudaDeviceVariable<float> found = Find(name, values.Length);
        AwaitChanges();
        found.CopyToHost(values, _stream);
    }

    public void Write(string name, ReadOnlySpan<float> values)
    {
        CudaDeviceVariable<float> found = Find(name, values.Length);
        AwaitChanges();
        found.CopyToDevice(values, _stream);
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
