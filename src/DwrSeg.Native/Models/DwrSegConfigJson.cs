using System.Collections.Immutable;
using System.Text.Json;
using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Models;

/// <summary>The configuration as the JSON object that a weights file carries.</summary>
internal static class DwrSegConfigJson
{
    // One row a property: its key, how it is written and how it is read. The file names follow the reference network's.
    private static readonly (string Key, Action<Utf8JsonWriter, DwrSegConfig> Write, Func<DwrSegConfig, JsonElement, DwrSegConfig> Read)[] Properties =
    [
        ("classes", (w, c) => w.WriteNumberValue(c.Classes), (c, e) => c with { Classes = e.GetInt32() }),
        ("base_channels", (w, c) => w.WriteNumberValue(c.BaseChannels), (c, e) => c with { BaseChannels = e.GetInt32() }),
        ("repeats", (w, c) => WriteNumbers(w, c.Repeats), (c, e) => c with { Repeats = ReadNumbers(e) }),
        ("sir_expansion", (w, c) => w.WriteNumberValue(c.SirExpansion), (c, e) => c with { SirExpansion = e.GetInt32() }),
        ("sir_depthwise", (w, c) => w.WriteBooleanValue(c.SirDepthwise), (c, e) => c with { SirDepthwise = e.GetBoolean() }),
        ("branch_ratio", (w, c) => WriteNumbers(w, c.BranchRatio), (c, e) => c with { BranchRatio = ReadNumbers(e) }),
        ("rr_expansion", (w, c) => w.WriteNumberValue(c.RrExpansion), (c, e) => c with { RrExpansion = e.GetDouble() }),
        ("shared_branches", (w, c) => w.WriteBooleanValue(c.SharedBranches), (c, e) => c with { SharedBranches = e.GetBoolean() }),
        ("rr_relu", (w, c) => w.WriteBooleanValue(c.RrRelu), (c, e) => c with { RrRelu = e.GetBoolean() }),
        ("rr_bn", (w, c) => w.WriteBooleanValue(c.RrBn), (c, e) => c with { RrBn = e.GetBoolean() }),
        ("sr_bn", (w, c) => w.WriteBooleanValue(c.SrBn), (c, e) => c with { SrBn = e.GetBoolean() }),
        ("sr_relu", (w, c) => w.WriteBooleanValue(c.SrRelu), (c, e) => c with { SrRelu = e.GetBoolean() }),
        ("project_bn", (w, c) => w.WriteBooleanValue(c.ProjectBn), (c, e) => c with { ProjectBn = e.GetBoolean() }),
    ];

    private const string Stages = "stages";

    // What the paper calls some of them.
    private static readonly Dictionary<string, string> Symbols = new(StringComparer.Ordinal)
    {
        ["alpha"] = "branch_ratio", ["beta"] = "rr_expansion", ["lambda"] = "sir_expansion",
    };

    public static void Write(Utf8JsonWriter writer, DwrSegConfig config)
    {
        foreach (var property in Properties)
        {
            writer.WritePropertyName(property.Key);
            property.Write(writer, config);
        }
        if (config.Stages.IsEmpty) return;
        writer.WriteStartArray(Stages);
        foreach (StageConfig stage in config.Stages)
        {
            writer.WriteStartObject();
            writer.WriteString("module", stage.Module == StageModule.Sir ? "sir" : "dwr");
            writer.WriteNumber("repeats", stage.Repeats);
            if (stage.Module == StageModule.Dwr)
            {
                writer.WritePropertyName("dilations");
                WriteNumbers(writer, stage.Dilations);
                writer.WritePropertyName("branch_ratio");
                WriteNumbers(writer, stage.BranchRatio);
                writer.WriteBoolean("shared_branches", stage.SharedBranches);
            }
            writer.WriteEndObject();
        }
        writer.WriteEndArray();
    }

    /// <summary>Reads one property into <paramref name="config"/>; false where the key is none of the configuration's.</summary>
    /// <exception cref="FormatException">The value has the wrong type or range.</exception>
    public static bool TryRead(string key, JsonElement value, ref DwrSegConfig config)
    {
        try
        {
            if (key == Stages)
            {
                config = config with { Stages = [.. value.EnumerateArray().Select(ReadStage)] };
                return true;
            }
            foreach (var property in Properties)
            {
                if (property.Key != key) continue;
                config = property.Read(config, value);
                return true;
            }
            return false;
        }
        catch (Exception e) when (e is InvalidOperationException or FormatException)
        {
            throw new FormatException($"\"{key}\" is {Excerpt(value)}, which is not a value of its type.", e);
        }
    }

    /// <summary>
    /// <paramref name="config"/> with the properties that a JSON object written by a person gives, by their keys or the paper's symbols
    /// (alpha, beta, lambda). Unlike a weights file's, all of them must be known.
    /// </summary>
    /// <exception cref="FormatException">The text is no such object; the message names the property.</exception>
    /// <exception cref="ArgumentException">A value is out of its range.</exception>
    public static DwrSegConfig Override(DwrSegConfig config, string json)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(json, new JsonDocumentOptions { MaxDepth = 8, AllowDuplicateProperties = false });
            if (document.RootElement.ValueKind != JsonValueKind.Object) throw new FormatException($"it is a JSON {document.RootElement.ValueKind}, not an object.");
            foreach (JsonProperty property in document.RootElement.EnumerateObject())
            {
                if (TryRead(Symbols.GetValueOrDefault(property.Name, property.Name), property.Value, ref config)) continue;
                IEnumerable<string> known = [.. Properties.Select(p => p.Key), Stages, .. Symbols.Keys];
                throw new FormatException($"a network has no {ErrorText.Quote(property.Name)}; it has {string.Join(", ", known)}.");
            }
        }
        catch (JsonException e)
        {
            throw new FormatException($"it is no JSON object: {e.Message}", e);
        }
        config.Validate();
        return config;
    }

    private static StageConfig ReadStage(JsonElement element)
    {
        var stage = new StageConfig { Module = default, Repeats = 0 };
        foreach (JsonProperty property in element.EnumerateObject())
        {
            stage = property.Name switch
            {
                "module" => stage with
                {
                    Module = property.Value.GetString() switch
                    {
                        "sir" => StageModule.Sir,
                        "dwr" => StageModule.Dwr,
                        _ => throw new FormatException("a stage's module is \"sir\" or \"dwr\""),
                    },
                },
                "repeats" => stage with { Repeats = property.Value.GetInt32() },
                "dilations" => stage with { Dilations = ReadNumbers(property.Value) },
                "branch_ratio" => stage with { BranchRatio = ReadNumbers(property.Value) },
                "shared_branches" => stage with { SharedBranches = property.Value.GetBoolean() },
                _ => throw new FormatException($"a stage has no \"{property.Name}\""),
            };
        }
        return stage;
    }

    private static void WriteNumbers(Utf8JsonWriter writer, ImmutableArray<int> values)
    {
        writer.WriteStartArray();
        foreach (int value in values) writer.WriteNumberValue(value);
        writer.WriteEndArray();
    }

    private static ImmutableArray<int> ReadNumbers(JsonElement element) => [.. element.EnumerateArray().Select(e => e.GetInt32())];

    private static string Excerpt(JsonElement value)
    {
        string text = value.GetRawText();
        return text.Length <= 40 ? text : text[..40] + "…";
    }
}
