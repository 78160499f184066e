using System.Buffers;
using System.Collections.Immutable;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace DwrSeg.Native.Formats;

/// <summary>
/// The classes of a data set or a model: names, overlay colours and the id of pixels that have no class. Class ids are 0 … Count−1.
/// </summary>
/// <remarks>
/// As JSON: <c>{"classes": [{"name": "sky", "color": "#808080"}, …], "ignore": 255}</c>. A colour may also be <c>[r, g, b]</c>, or be
/// left out for one of a standard set; <c>ignore</c> may be left out and is then 255. Unknown fields are errors, since a misspelt
/// field would otherwise be lost in silence.
/// </remarks>
public sealed class ClassList
{
    /// <summary>The most classes a list may have: ids are bytes and one is kept for ignored pixels.</summary>
    public const int MaxCount = 255;

    private const int DefaultIgnoreId = 255;

    /// <summary>Makes a list.</summary>
    /// <param name="names">2 to 255 distinct names.</param>
    /// <param name="colors">One colour per name; null for a standard set.</param>
    /// <param name="ignoreId">Id of pixels without a class, from the number of classes to 255.</param>
    /// <exception cref="ArgumentException">The names, colours and the id do not fit together.</exception>
    public ClassList(IEnumerable<string> names, IEnumerable<Rgb>? colors = null, int ignoreId = DefaultIgnoreId)
    {
        Names = [.. names];
        Colors = colors is null ? [.. Enumerable.Range(0, Names.Length).Select(StandardColor)] : [.. colors];
        IgnoreId = ignoreId;
        if (Problem() is { } problem) throw new ArgumentException(problem);
    }

    /// <summary>CamVid in the 11 classes of the SegNet tutorial; 11 is unlabelled.</summary>
    public static ClassList CamVid { get; } = new(
        ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"],
        [
            new(128, 128, 128), new(128, 0, 0), new(192, 192, 128), new(128, 64, 128), new(0, 0, 192), new(128, 128, 0),
            new(192, 128, 128), new(64, 64, 128), new(64, 0, 128), new(64, 64, 0), new(0, 128, 192),
        ],
        11);

    /// <summary>The 19 training classes of Cityscapes in the order of their train ids; 255 is ignored.</summary>
    public static ClassList Cityscapes { get; } = new(
        [
            "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
            "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
        ],
        [
            new(128, 64, 128), new(244, 35, 232), new(70, 70, 70), new(102, 102, 156), new(190, 153, 153), new(153, 153, 153),
            new(250, 170, 30), new(220, 220, 0), new(107, 142, 35), new(152, 251, 152), new(70, 130, 180), new(220, 20, 60),
            new(255, 0, 0), new(0, 0, 142), new(0, 0, 70), new(0, 60, 100), new(0, 80, 100), new(0, 0, 230), new(119, 11, 32),
        ]);

    /// <summary>Name of each class, by id.</summary>
    public ImmutableArray<string> Names { get; }

    /// <summary>Overlay colour of each class, by id.</summary>
    public ImmutableArray<Rgb> Colors { get; }

    /// <summary>Id of pixels that have no class; it is not an id of a class.</summary>
    public int IgnoreId { get; }

    /// <summary>Number of classes.</summary>
    public int Count => Names.Length;

    /// <summary>Reads a <c>classes.json</c>.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    /// <exception cref="DataFormatException">The file is not a sound class list.</exception>
    public static ClassList Load(string path) => ClassListJson.Parse(DataFile.ReadAll(path, ClassListJson.MaxBytes), path);

    /// <summary>Parses the JSON form.</summary>
    /// <param name="json">UTF-8 text.</param>
    /// <param name="source">How errors call it.</param>
    /// <exception cref="DataFormatException">The text is not a sound class list.</exception>
    public static ClassList Parse(ReadOnlySpan<byte> json, string source) => ClassListJson.Parse(json, source);

    /// <summary>Parses the JSON form.</summary>
    /// <inheritdoc cref="Parse(ReadOnlySpan{byte}, string)"/>
    public static ClassList Parse(string json, string source) => ClassListJson.Parse(Encoding.UTF8.GetBytes(json), source);

    /// <summary>The list as JSON, in the form that <see cref="Parse(string, string)"/> reads.</summary>
    public string ToJson()
    {
        ArrayBufferWriter<byte> text = new();
        JsonWriterOptions options = new() { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
        using (Utf8JsonWriter json = new(text, options))
        {
            json.WriteStartObject();
            json.WriteStartArray("classes");
            for (int i = 0; i < Count; i++)
            {
                json.WriteStartObject();
                json.WriteString("name", Names[i]);
                json.WriteString("color", Colors[i].ToString());
                json.WriteEndObject();
            }
            json.WriteEndArray();
            json.WriteNumber("ignore", IgnoreId);
            json.WriteEndObject();
        }
        return Encoding.UTF8.GetString(text.WrittenSpan) + "\n";
    }

    /// <summary>Writes the JSON form; the file appears whole or not at all.</summary>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public void Save(string path) => AtomicFile.Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(ToJson())));

    // Bits of the id spread over the three channels from the top bit down: neighbouring ids get clearly different colours. Counting
    // starts at 1 because 0 would be black.
    private static Rgb StandardColor(int id)
    {
        int r = 0, g = 0, b = 0, bits = id + 1;
        for (int shift = 7; bits != 0; shift--, bits >>= 3)
        {
            r |= (bits & 1) << shift;
            g |= ((bits >> 1) & 1) << shift;
            b |= ((bits >> 2) & 1) << shift;
        }
        return new Rgb((byte)r, (byte)g, (byte)b);
    }

    private string? Problem()
    {
        if (Names.Length is < 2 or > MaxCount) return $"needs 2 to {MaxCount} classes, found {Names.Length}";
        if (Colors.Length != Names.Length) return $"has {Names.Length} names but {Colors.Length} colours";
        HashSet<string> seen = new(StringComparer.Ordinal);
        for (int i = 0; i < Names.Length; i++)
        {
            if (string.IsNullOrWhiteSpace(Names[i])) return $"class {i} has no name";
            if (Names[i].Length > ClassListJson.MaxNameLength || Names[i].Any(char.IsControl))
            {
                return $"class {i}'s name {ErrorText.Quote(Names[i])} has control characters or is longer than " +
                    $"{ClassListJson.MaxNameLength} characters";
            }
            if (!seen.Add(Names[i])) return $"class name {ErrorText.Quote(Names[i])} is given twice";
        }
        if (IgnoreId is < 0 or > 255) return $"the ignore id must be from {Names.Length} to 255, found {IgnoreId}";
        if (IgnoreId < Names.Length)
        {
            return $"the ignore id {IgnoreId} is class {ErrorText.Quote(Names[IgnoreId])}'s; choose one from {Names.Length} to 255";
        }
        return null;
    }
}
