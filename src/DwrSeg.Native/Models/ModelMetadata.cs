using System.Buffers;
using System.Text;
using System.Text.Json;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Models;

/// <summary>What a weights file says beside its tensors, so that the file alone is enough to segment.</summary>
internal sealed record ModelMetadata
{
    /// <summary>Key of the JSON object among a file's metadata.</summary>
    public const string Key = "dwrseg";

    /// <summary>The network.</summary>
    public required DwrSegConfig Config { get; init; }

    /// <summary>Names and colours; null where the file does not give them.</summary>
    public ClassList? Classes { get; init; }

    /// <summary>How images are normalised.</summary>
    public Normalization Normalization { get; init; } = Normalization.ImageNet;

    /// <summary>The input size that the network was trained for; null where the file does not give it.</summary>
    public (int Height, int Width)? InputSize { get; init; }

    /// <summary>Reads the metadata of <paramref name="file"/>.</summary>
    /// <exception cref="WeightsFormatException">It is missing or not sound.</exception>
    public static ModelMetadata Read(SafetensorsFile file)
    {
        if (!file.Metadata.TryGetValue(Key, out string? json))
        {
            throw new WeightsFormatException(
                file.Name, null, $"has no \"{Key}\" metadata, which holds the network's configuration: it is not a DWRSeg model");
        }
        try
        {
            return Parse(json);
        }
        catch (Exception e) when (e is JsonException or FormatException or ArgumentException or InvalidOperationException)
        {
            throw new WeightsFormatException(file.Name, null, $"\"{Key}\" metadata: {e.Message}", e);
        }
    }

    /// <summary>The metadata as JSON.</summary>
    public string ToJson()
    {
        var text = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(text))
        {
            writer.WriteStartObject();
            DwrSegConfigJson.Write(writer, Config);
            if (Classes is not null)
            {
                writer.WriteStartArray("class_names");
                foreach (string name in Classes.Names) writer.WriteStringValue(name);
                writer.WriteEndArray();
                writer.WriteStartArray("palette");
                foreach (Rgb color in Classes.Colors) writer.WriteStringValue(color.ToString());
                writer.WriteEndArray();
                writer.WriteNumber("ignore_id", Classes.IgnoreId);
            }
            Normalization n = Normalization;
            WriteFloats(writer, "input_mean", n.MeanR, n.MeanG, n.MeanB);
            WriteFloats(writer, "input_deviation", n.DeviationR, n.DeviationG, n.DeviationB);
            if (InputSize is { } size)
            {
                writer.WriteStartArray("input_size");
                writer.WriteNumberValue(size.Height);
                writer.WriteNumberValue(size.Width);
                writer.WriteEndArray();
            }
            writer.WriteEndObject();
        }
        return Encoding.UTF8.GetString(text.WrittenSpan);
    }

    private static ModelMetadata Parse(string json)
    {
        using JsonDocument document = JsonDocument.Parse(json, new JsonDocumentOptions { MaxDepth = 8 });
        var config = new DwrSegConfig();
        var metadata = new ModelMetadata { Config = config };
        string[]? names = null;
        Rgb[]? palette = null;
        int ignore = 255;
        Normalization norm = Normalization.ImageNet;
        foreach (JsonProperty property in document.RootElement.EnumerateObject())
        {
            switch (property.Name)
            {
                case "class_names":
                    names = Read(property, "a list of names", v => v.EnumerateArray().Select(e => e.GetString() ?? throw new FormatException()).ToArray());
                    break;
                case "palette":
                    palette = Read(property, "a list of colours #rrggbb", v => v.EnumerateArray().Select(e => Rgb.TryParse(e.GetString() ?? "", out Rgb color)
                        ? color : throw new FormatException()).ToArray());
                    break;
                case "ignore_id":
                    ignore = Read(property, "an integer", v => v.GetInt32());
                    break;
                case "input_mean":
                    (norm.MeanR, norm.MeanG, norm.MeanB) = ReadTriple(property);
                    break;
                case "input_deviation":
                    (norm.DeviationR, norm.DeviationG, norm.DeviationB) = ReadTriple(property);
                    break;
                case "input_size":
                    int[] size = Read(property, "[height, width], 1 to 16384 each", v =>
                        v.EnumerateArray().Select(e => e.GetInt32()).ToArray() is [>= 1 and <= 16384, >= 1 and <= 16384] pair ? pair : throw new FormatException());
                    metadata = metadata with { InputSize = (size[0], size[1]) };
                    break;
                default:
                    // Later versions may say more; what this one does not know can't change the network.
                    DwrSegConfigJson.TryRead(property.Name, property.Value, ref config);
                    break;
            }
        }
        config.Validate();
        if (!IsUsable(norm)) throw new FormatException("input_mean must be finite and input_deviation finite and positive");
        ClassList? classes = names is null ? null : new ClassList(names, palette, ignore);
        if (classes is not null && classes.Count != config.Classes)
            throw new FormatException($"there are {classes.Count} class names for {config.Classes} classes");
        return metadata with { Config = config, Classes = classes, Normalization = norm };
    }

    private static bool IsUsable(Normalization n) =>
        float.IsFinite(n.MeanR) && float.IsFinite(n.MeanG) && float.IsFinite(n.MeanB)
        && n is { DeviationR: > 0 and < float.PositiveInfinity, DeviationG: > 0 and < float.PositiveInfinity, DeviationB: > 0 and < float.PositiveInfinity };

    private static (float, float, float) ReadTriple(JsonProperty property) => Read(property, "three numbers", v =>
        v.EnumerateArray().Select(e => e.GetSingle()).ToArray() is [float r, float g, float b] ? (r, g, b) : throw new FormatException());

    private static T Read<T>(JsonProperty property, string expected, Func<JsonElement, T> read)
    {
        try
        {
            return read(property.Value);
        }
        catch (Exception e) when (e is InvalidOperationException or FormatException)
        {
            throw new FormatException($"{property.Name} must be {expected}, found {ErrorText.Quote(property.Value.GetRawText())}", e);
        }
    }

    private static void WriteFloats(Utf8JsonWriter writer, string key, params ReadOnlySpan<float> values)
    {
        writer.WriteStartArray(key);
        foreach (float value in values) writer.WriteNumberValue(value);
        writer.WriteEndArray();
    }
}
