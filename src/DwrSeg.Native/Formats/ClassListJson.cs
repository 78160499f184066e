using System.Text.Json;
using System.Text.Unicode;

namespace DwrSeg.Native.Formats;

/// <summary>Parses a class list's JSON form without trusting it.</summary>
internal static class ClassListJson
{
    public const int MaxBytes = 1 << 20;
    public const int MaxNameLength = 100;

    public static ClassList Parse(ReadOnlySpan<byte> text, string source)
    {
        if (text.Length > MaxBytes) throw Bad(source, $"{text.Length} bytes are no class list; at most {MaxBytes} are read");
        if (text.StartsWith("\uFEFF"u8)) text = text[3..];
        if (!Utf8.IsValid(text)) throw new DataFormatException(source, null, "is not valid UTF-8; save it as UTF-8");
        Utf8JsonReader json = new(text, new JsonReaderOptions
        {
            MaxDepth = 8,
            CommentHandling = JsonCommentHandling.Skip,
            AllowTrailingCommas = true,
        });
        try
        {
            return Parse(ref json, source);
        }
        catch (JsonException e)
        {
            throw new DataFormatException(source, (int)(e.LineNumber ?? 0) + 1, "is not valid JSON", e);
        }
        catch (InvalidOperationException e)
        {
            throw new DataFormatException(source, null, "holds a string that is not valid Unicode", e);
        }
        catch (ArgumentException e)
        {
            throw new DataFormatException(source, null, e.Message, e);
        }
    }

    private static ClassList Parse(ref Utf8JsonReader json, string source)
    {
        List<string>? names = null;
        List<Rgb?> colors = [];
        int? ignore = null;
        json.Read();
        if (json.TokenType != JsonTokenType.StartObject) throw Bad(source, "expected {\"classes\": […], \"ignore\": 255}");
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            string field = json.GetString()!;
            json.Read();
            switch (field)
            {
                case "classes" when names is null:
                    names = [];
                    ParseClasses(ref json, source, names, colors);
                    break;
                case "ignore" when ignore is null:
                    ignore = json.TokenType == JsonTokenType.Number && json.TryGetInt32(out int id)
                        ? id
                        : throw Bad(source, "ignore must be an integer");
                    break;
                case "classes" or "ignore":
                    throw Bad(source, $"{field} is given twice");
                default:
                    throw Bad(source, $"unknown field {ErrorText.Quote(field)}; known are classes and ignore");
            }
        }
        json.Read();
        if (names is null) throw Bad(source, "needs the field classes: [{\"name\": \"sky\", \"color\": \"#808080\"}, …]");
        ClassList standard = new(names, null, ignore ?? 255);
        return new ClassList(names, colors.Select((color, i) => color ?? standard.Colors[i]), standard.IgnoreId);
    }

    private static void ParseClasses(ref Utf8JsonReader json, string source, List<string> names, List<Rgb?> colors)
    {
        if (json.TokenType != JsonTokenType.StartArray) throw Bad(source, "classes must be an array");
        while (json.Read() && json.TokenType != JsonTokenType.EndArray)
        {
            int id = names.Count;
            if (id == ClassList.MaxCount) throw Bad(source, $"has more than {ClassList.MaxCount} classes");
            if (json.TokenType != JsonTokenType.StartObject) throw Bad(source, $"class {id} must be an object with a name");
            string? name = null;
            Rgb? color = null;
            while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
            {
                string field = json.GetString()!;
                json.Read();
                switch (field)
                {
                    case "name" when name is null:
                        if (json.TokenType != JsonTokenType.String) throw Bad(source, $"class {id}'s name must be a string");
                        name = json.GetString()!;
                        break;
                    case "color" when color is null:
                        color = ParseColor(ref json, source, id);
                        break;
                    case "name" or "color":
                        throw Bad(source, $"class {id} has {field} twice");
                    default:
                        throw Bad(source, $"class {id}: unknown field {ErrorText.Quote(field)}; known are name and color");
                }
            }
            names.Add(name ?? throw Bad(source, $"class {id} has no name"));
            colors.Add(color);
        }
    }

    private static Rgb ParseColor(ref Utf8JsonReader json, string source, int id)
    {
        if (json.TokenType == JsonTokenType.String && Rgb.TryParse(json.GetString()!, out Rgb color)) return color;
        if (json.TokenType == JsonTokenType.StartArray)
        {
            Span<byte> channels = stackalloc byte[3];
            int count = 0;
            while (json.Read() && json.TokenType == JsonTokenType.Number && count < 3 && json.TryGetByte(out byte value))
            {
                channels[count++] = value;
            }
            if (count == 3 && json.TokenType == JsonTokenType.EndArray) return new Rgb(channels[0], channels[1], channels[2]);
        }
        throw Bad(source, $"class {id}'s color must be \"#rrggbb\" or [r, g, b] with integers from 0 to 255");
    }

    private static DataFormatException Bad(string source, string problem) => new(source, null, problem);
}
