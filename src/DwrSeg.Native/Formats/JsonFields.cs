using System.Text.Json;

namespace DwrSeg.Native.Formats;

/// <summary>The fields of a JSON object from a weights file's metadata, which is not trusted: every access checks kind and range.</summary>
internal sealed class JsonFields
{
    private readonly JsonElement _object;
    private readonly string _file;
    private readonly string _key;

    /// <exception cref="WeightsFormatException">The text is not one JSON object without duplicate fields.</exception>
    public JsonFields(string json, string file, string key)
    {
        _file = file;
        _key = key;
        try
        {
            JsonDocumentOptions options = new() { MaxDepth = 16, AllowDuplicateProperties = false };
            using JsonDocument document = JsonDocument.Parse(json, options);
            _object = document.RootElement.Clone();
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or ArgumentException)
        {
            throw new WeightsFormatException(file, null, $"metadata '{key}' is not valid JSON; the file is damaged", e);
        }
        if (_object.ValueKind != JsonValueKind.Object)
        {
            throw new WeightsFormatException(file, null, $"metadata '{key}' must be a JSON object, found {_object.ValueKind}");
        }
    }

    /// <exception cref="WeightsFormatException">Missing, or not an integer in this range.</exception>
    public long Integer(string field, long min = long.MinValue, long max = long.MaxValue)
    {
        JsonElement value = Value(field, JsonValueKind.Number);
        return value.TryGetInt64(out long number) && number >= min && number <= max
            ? number
            : throw Bad(field, $"must be an integer from {min} to {max}, found {ErrorText.Quote(value.GetRawText())}");
    }

    /// <exception cref="WeightsFormatException">Missing or not a finite number.</exception>
    public double Number(string field)
    {
        JsonElement value = Value(field, JsonValueKind.Number);
        return value.TryGetDouble(out double number) && double.IsFinite(number)
            ? number
            : throw Bad(field, $"must be a finite number, found {ErrorText.Quote(value.GetRawText())}");
    }

    /// <exception cref="WeightsFormatException">Missing or not a string.</exception>
    public string Text(string field)
    {
        JsonElement value = Value(field, JsonValueKind.String);
        try
        {
            return value.GetString()!;
        }
        catch (InvalidOperationException e)
        {
            throw new WeightsFormatException(_file, null, $"metadata '{_key}': {ErrorText.Quote(field)} is not valid Unicode", e);
        }
    }

    /// <summary>As <see cref="Text"/>, but null where the field is missing.</summary>
    /// <exception cref="WeightsFormatException">Not a string.</exception>
    public string? OptionalText(string field) => _object.TryGetProperty(field, out _) ? Text(field) : null;

    private JsonElement Value(string field, JsonValueKind kind)
    {
        if (!_object.TryGetProperty(field, out JsonElement value)) throw Bad(field, "is missing; was the file written by a newer version?");
        return value.ValueKind == kind ? value : throw Bad(field, $"must be a {kind}, found a {value.ValueKind}");
    }

    private WeightsFormatException Bad(string field, string problem) =>
        new(_file, null, $"metadata '{_key}': {ErrorText.Quote(field)} {problem}");
}
