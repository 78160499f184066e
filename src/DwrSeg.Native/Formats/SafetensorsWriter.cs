using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace DwrSeg.Native.Formats;

/// <summary>
/// Collects tensors and writes them as one safetensors file. Values are copied when added, so saving may happen later or on another
/// thread. The same content gives the same bytes: tensors are ordered by descending element size, then by name.
/// </summary>
public sealed class SafetensorsWriter
{
    private static readonly UTF8Encoding StrictUtf8 = new(false, throwOnInvalidBytes: true);

    private readonly Dictionary<string, (SafetensorsDType DType, long[] Shape, byte[] Data)> _tensors = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, string> _metadata = new(StringComparer.Ordinal);

    /// <summary>Strings to put under <c>__metadata__</c>.</summary>
    public IDictionary<string, string> Metadata => _metadata;

    /// <summary>Adds a floating-point tensor, rounding to nearest even.</summary>
    /// <param name="name">A name not added before.</param>
    /// <param name="dtype">F32, F16 or BF16.</param>
    /// <param name="shape">Sizes, outermost first; empty for a scalar.</param>
    /// <param name="values">As many as the shape's product.</param>
    /// <exception cref="ArgumentException">The name is taken or not writable, or type, shape and values do not fit together.</exception>
    /// <exception cref="OverflowException">A finite value is out of the type's range.</exception>
    public void Add(string name, SafetensorsDType dtype, ReadOnlySpan<long> shape, ReadOnlySpan<float> values)
    {
        CheckNew(name, shape, values.Length);
        byte[] data;
        switch (dtype)
        {
            case SafetensorsDType.F32:
                data = MemoryMarshal.AsBytes(values).ToArray();
                break;
            case SafetensorsDType.F16:
                data = new byte[values.Length * 2L];
                Span<Half> halves = MemoryMarshal.Cast<byte, Half>(data.AsSpan());
                for (int i = 0; i < values.Length; i++)
                {
                    halves[i] = (Half)values[i];
                    if (Half.IsInfinity(halves[i])) CheckRange(name, dtype, values[i]);
                }
                break;
            case SafetensorsDType.BF16:
                data = new byte[values.Length * 2L];
                Span<ushort> upper = MemoryMarshal.Cast<byte, ushort>(data.AsSpan());
                for (int i = 0; i < values.Length; i++)
                {
                    upper[i] = ToBFloat16(values[i]);
                    if ((upper[i] & 0x7FFF) == 0x7F80) CheckRange(name, dtype, values[i]);
                }
                break;
            default:
                throw new ArgumentException($"tensor {ErrorText.Quote(name)}: floats are written as F32, F16 or BF16", nameof(dtype));
        }
        _tensors.Add(name, (dtype, shape.ToArray(), data));
    }

    /// <summary>Adds an I64 tensor.</summary>
    /// <param name="name">A name not added before.</param>
    /// <param name="shape">Sizes, outermost first; empty for a scalar.</param>
    /// <param name="values">As many as the shape's product.</param>
    /// <exception cref="ArgumentException">The name is taken or not writable, or shape and values do not fit together.</exception>
    public void Add(string name, ReadOnlySpan<long> shape, ReadOnlySpan<long> values)
    {
        CheckNew(name, shape, values.Length);
        _tensors.Add(name, (SafetensorsDType.I64, shape.ToArray(), MemoryMarshal.AsBytes(values).ToArray()));
    }

    /// <summary>
    /// Writes the file under a temporary name in the same folder, flushes it to the disk and renames it, so that no reader and no
    /// killed process ever leaves a half-written file behind that name.
    /// </summary>
    /// <exception cref="IOException">The file cannot be written; an older one of that name stays as it was.</exception>
    public void Save(string path) => AtomicFile.Write(path, WriteTo);

    /// <summary>Writes the file's bytes to a stream.</summary>
    public void WriteTo(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        var ordered = _tensors.OrderByDescending(t => t.Value.DType.Size).ThenBy(t => t.Key, StringComparer.Ordinal).ToList();
        ArrayBufferWriter<byte> header = new();
        using (Utf8JsonWriter json = new(header, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            if (_metadata.Count > 0)
            {
                json.WriteStartObject(SafetensorsHeader.MetadataKey);
                foreach ((string key, string value) in _metadata) json.WriteString(key, value);
                json.WriteEndObject();
            }
            long offset = 0;
            foreach ((string name, (SafetensorsDType dtype, long[] shape, byte[] data)) in ordered)
            {
                json.WriteStartObject(name);
                json.WriteString("dtype", dtype.HeaderName);
                json.WriteStartArray("shape");
                foreach (long size in shape) json.WriteNumberValue(size);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset += data.LongLength);
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        int padding = -header.WrittenCount & 7;
        header.GetSpan(padding)[..padding].Fill((byte)' ');
        header.Advance(padding);
        Span<byte> length = stackalloc byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, header.WrittenCount);
        stream.Write(length);
        stream.Write(header.WrittenSpan);
        foreach ((_, (_, _, byte[] data)) in ordered) stream.Write(data);
    }

    /// <summary>The upper 16 bits of the nearest value, ties to even; NaN stays NaN.</summary>
    internal static ushort ToBFloat16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        if (float.IsNaN(value)) return (ushort)((bits >> 16) | 0x40);
        return (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    private static void CheckRange(string name, SafetensorsDType dtype, float value)
    {
        if (float.IsFinite(value))
        {
            throw new OverflowException($"tensor {ErrorText.Quote(name)}: {value} is out of {dtype.HeaderName}'s range; write F32");
        }
    }

    private void CheckNew(string name, ReadOnlySpan<long> shape, int count)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (name == SafetensorsHeader.MetadataKey) throw new ArgumentException($"{name} is reserved for metadata", nameof(name));
        try
        {
            StrictUtf8.GetByteCount(name);
        }
        catch (EncoderFallbackException e)
        {
            throw new ArgumentException($"tensor {ErrorText.Quote(name)}: the name is not valid Unicode", nameof(name), e);
        }
        if (_tensors.ContainsKey(name)) throw new ArgumentException($"tensor {ErrorText.Quote(name)} is there already", nameof(name));
        Int128 product = 1;
        foreach (long size in shape)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(size, nameof(shape));
            product *= size;
            if (product > int.MaxValue) break;
        }
        if (product != count)
        {
            throw new ArgumentException(
                $"tensor {ErrorText.Quote(name)}: {count} values do not fill shape {ErrorText.Shape(shape)}", nameof(shape));
        }
    }
}
