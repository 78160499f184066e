using System.Buffers;
using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Text.Json;
using System.Text.Unicode;

namespace DwrSeg.Native.Formats;

/// <summary>
/// Parses a safetensors header: 8 bytes of little-endian length, then JSON <c>{name: {dtype, shape, data_offsets}, …}</c> with an
/// optional <c>__metadata__</c> of strings; the tensors' bytes follow and must cover the rest of the file without gap or overlap.
/// </summary>
internal sealed class SafetensorsHeader
{
    public const string MetadataKey = "__metadata__";
    public const int MaxLength = 100_000_000;
    private const int MaxDimensions = 64;
    private const string Damaged = "the file is damaged or was cut short: copy or export it again";

    private readonly string _file;
    private readonly long _dataStart;
    private readonly long _dataLength;

    public OrderedDictionary<string, string> Metadata { get; } = new(StringComparer.Ordinal);

    public OrderedDictionary<string, SafetensorsEntry> Tensors { get; } = new(StringComparer.Ordinal);

    private SafetensorsHeader(string file, long dataStart, long dataLength)
    {
        _file = file;
        _dataStart = dataStart;
        _dataLength = dataLength;
    }

    public static SafetensorsHeader Read(ByteSource source, string file)
    {
        if (source.Length < 8) throw new WeightsFormatException(file, null, $"{source.Length} bytes are no safetensors file; {Damaged}");
        Span<byte> prefix = stackalloc byte[8];
        source.Read(0, prefix);
        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (length > MaxLength)
        {
            throw new WeightsFormatException(file, null,
                $"the header claims {length} bytes, at most {MaxLength} are allowed; this is no safetensors file, or it is damaged");
        }
        if (length > (ulong)source.Length - 8)
        {
            throw new WeightsFormatException(file, null,
                $"the header claims {length} bytes but only {source.Length - 8} follow; {Damaged}");
        }
        byte[] json = ArrayPool<byte>.Shared.Rent((int)length);
        try
        {
            Span<byte> text = json.AsSpan(0, (int)length);
            source.Read(8, text);
            SafetensorsHeader header = new(file, 8 + (long)length, source.Length - 8 - (long)length);
            header.Parse(text);
            header.CheckCoverage();
            return header;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(json);
        }
    }

    private void Parse(ReadOnlySpan<byte> text)
    {
        if (text.IsEmpty || text[0] != (byte)'{') throw Bad("the header is not a JSON object; this is no safetensors file");
        if (!Utf8.IsValid(text)) throw Bad("the header is not valid UTF-8; the file is damaged");
        Utf8JsonReader json = new(text, new JsonReaderOptions { MaxDepth = 8 });
        try
        {
            json.Read();
            bool metadataSeen = false;
            while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
            {
                string name = json.GetString()!;
                json.Read();
                if (name != MetadataKey)
                {
                    if (!Tensors.TryAdd(name, ParseEntry(ref json, name))) throw Bad("the header names it twice", name);
                    continue;
                }
                if (metadataSeen) throw Bad($"the header has {MetadataKey} twice");
                metadataSeen = true;
                ParseMetadata(ref json);
            }
            // Past the closing brace only white space may follow; anything else makes this throw.
            json.Read();
        }
        catch (JsonException e)
        {
            throw Bad($"the header is not valid JSON (line {e.LineNumber}, byte {e.BytePositionInLine}); {Damaged}", inner: e);
        }
        catch (InvalidOperationException e)
        {
            // The JSON reader's answer to an escaped half of a surrogate pair.
            throw Bad("the header holds a string that is not valid Unicode; the file is damaged", inner: e);
        }
    }

    private void ParseMetadata(ref Utf8JsonReader json)
    {
        if (json.TokenType != JsonTokenType.StartObject) throw Bad($"{MetadataKey} must be an object of strings");
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            string key = json.GetString()!;
            json.Read();
            if (json.TokenType != JsonTokenType.String)
            {
                throw Bad($"metadata {ErrorText.Quote(key)} must be a string, found {json.TokenType}");
            }
            if (!Metadata.TryAdd(key, json.GetString()!)) throw Bad($"metadata {ErrorText.Quote(key)} is given twice");
        }
    }

    private SafetensorsEntry ParseEntry(ref Utf8JsonReader json, string name)
    {
        if (json.TokenType != JsonTokenType.StartObject) throw Bad($"expected an object, found {json.TokenType}", name);
        SafetensorsDType? dtype = null;
        ImmutableArray<long> shape = default, offsets = default;
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            if (json.ValueTextEquals("dtype"u8))
            {
                if (dtype is not null) throw Bad("dtype is given twice", name);
                dtype = ParseDType(ref json, name);
            }
            else if (json.ValueTextEquals("shape"u8))
            {
                if (!shape.IsDefault) throw Bad("shape is given twice", name);
                shape = ParseIntegers(ref json, name, "shape");
            }
            else if (json.ValueTextEquals("data_offsets"u8))
            {
                if (!offsets.IsDefault) throw Bad("data_offsets are given twice", name);
                offsets = ParseIntegers(ref json, name, "data_offsets");
            }
            else
            {
                json.Skip();
            }
        }
        if (dtype is null || shape.IsDefault || offsets.IsDefault) throw Bad("needs dtype, shape and data_offsets", name);
        return Check(name, dtype.Value, shape, offsets);
    }

    private SafetensorsDType ParseDType(ref Utf8JsonReader json, string name)
    {
        json.Read();
        if (json.TokenType != JsonTokenType.String) throw Bad($"dtype must be a string, found {json.TokenType}", name);
        string text = json.GetString()!;
        if (SafetensorsDTypes.TryParse(text, out SafetensorsDType dtype)) return dtype;
        throw Bad($"unknown dtype {ErrorText.Quote(text)}; known are {SafetensorsDTypes.KnownNames}: convert the file first", name);
    }

    private ImmutableArray<long> ParseIntegers(ref Utf8JsonReader json, string name, string field)
    {
        json.Read();
        if (json.TokenType != JsonTokenType.StartArray) throw Bad($"{field} must be an array, found {json.TokenType}", name);
        Span<long> values = stackalloc long[MaxDimensions];
        int count = 0;
        while (json.Read() && json.TokenType != JsonTokenType.EndArray)
        {
            if (json.TokenType != JsonTokenType.Number || !json.TryGetInt64(out long value) || value < 0)
            {
                throw Bad($"{field} must hold integers from 0 to {long.MaxValue}", name);
            }
            if (count == MaxDimensions) throw Bad($"{field} has more than {MaxDimensions} numbers", name);
            values[count++] = value;
        }
        return [.. values[..count]];
    }

    private SafetensorsEntry Check(string name, SafetensorsDType dtype, ImmutableArray<long> shape, ImmutableArray<long> offsets)
    {
        if (offsets.Length != 2) throw Bad($"data_offsets must be [begin, end], found {offsets.Length} numbers", name);
        (long begin, long end) = (offsets[0], offsets[1]);
        if (begin > end || end > _dataLength)
        {
            throw Bad($"data_offsets [{begin}, {end}] do not lie in the file's {_dataLength} data bytes; {Damaged}", name);
        }
        Int128 bytes = dtype.Size;
        foreach (long size in shape)
        {
            // Zero sizes are left out here, so that an absurd shape is refused even when its product is zero.
            if (size == 0) continue;
            bytes *= size;
            if (bytes > long.MaxValue) throw Bad($"shape {ErrorText.Shape(shape.AsSpan())} overflows 64 bits", name);
        }
        if (shape.Contains(0)) bytes = 0;
        if (bytes != end - begin)
        {
            throw Bad($"{dtype.HeaderName} {ErrorText.Shape(shape.AsSpan())} needs {bytes} bytes, data_offsets give {end - begin}", name);
        }
        return new SafetensorsEntry(name, dtype, shape, _dataStart + begin, end - begin);
    }

    private void CheckCoverage()
    {
        SafetensorsEntry[] byOffset = [.. Tensors.Values];
        Array.Sort(byOffset, (a, b) => (a.Offset, a.ByteLength).CompareTo((b.Offset, b.ByteLength)));
        long covered = _dataStart;
        foreach (SafetensorsEntry entry in byOffset)
        {
            if (entry.Offset < covered) throw Bad("its bytes overlap another tensor's; the file is damaged", entry.Name);
            if (entry.Offset > covered) throw Bad($"{entry.Offset - covered} bytes before it belong to no tensor", entry.Name);
            covered += entry.ByteLength;
        }
        long rest = _dataStart + _dataLength - covered;
        if (rest != 0) throw Bad($"{rest} bytes at its end belong to no tensor; the file is damaged");
    }

    private WeightsFormatException Bad(string problem, string? tensor = null, Exception? inner = null) =>
        new(_file, tensor, problem, inner);
}
