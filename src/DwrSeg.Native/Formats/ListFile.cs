using System.Text;
using System.Text.Unicode;

namespace DwrSeg.Native.Formats;

/// <summary>One image with its labels.</summary>
/// <param name="Image">Path of the image file.</param>
/// <param name="Label">Path of the label file.</param>
/// <param name="Line">Line of the list file, from 1 on.</param>
internal readonly record struct ListEntry(string Image, string Label, int Line);

/// <summary>
/// Reads the list files of the SegNet tutorial: per line the path of an image and that of its labels, separated by white space. Blank
/// lines and lines that start with <c>#</c> are skipped.
/// </summary>
/// <remarks>
/// The lists as published hold absolute paths of their author's machine, as <c>/SegNet/CamVid/train/0001TP_006690.png</c>. A path is
/// therefore looked for below the list file's folder only, whole at first, then without its first folder, and so on; <c>..</c> is
/// refused, so that a list cannot name a file elsewhere.
/// </remarks>
internal static class ListFile
{
    public const int MaxBytes = 1 << 24;
    public const int MaxLines = 200_000;
    public const int MaxLineBytes = 4096;
    private const int MaxDepth = 32;

    /// <exception cref="FileNotFoundException">There is no such list.</exception>
    /// <exception cref="IOException">The list cannot be read.</exception>
    /// <exception cref="DataFormatException">A line is malformed or names a file that is not there; or the list is empty.</exception>
    public static IReadOnlyList<ListEntry> Read(string path)
    {
        byte[] text = DataFile.ReadAll(path, MaxBytes);
        return Parse(text, path, Path.GetDirectoryName(Path.GetFullPath(path))!, File.Exists);
    }

    /// <param name="text">The list.</param>
    /// <param name="name">How errors call it.</param>
    /// <param name="folder">Where the data lies.</param>
    /// <param name="exists">Tells whether there is a file of that path.</param>
    /// <exception cref="DataFormatException">A line is malformed or names a file that is not there; or the list is empty.</exception>
    public static IReadOnlyList<ListEntry> Parse(ReadOnlySpan<byte> text, string name, string folder, Func<string, bool> exists)
    {
        if (text.StartsWith("\uFEFF"u8)) text = text[3..];
        List<ListEntry> entries = [];
        for (int number = 1; !text.IsEmpty; number++)
        {
            if (number > MaxLines) throw new DataFormatException(name, number, $"more than {MaxLines} lines; split the list");
            int end = text.IndexOf((byte)'\n');
            ReadOnlySpan<byte> bytes = end < 0 ? text : text[..end];
            text = end < 0 ? [] : text[(end + 1)..];
            if (bytes.Length > MaxLineBytes)
            {
                throw new DataFormatException(name, number,
                    $"{bytes.Length} bytes long, at most {MaxLineBytes} are allowed: is it a list file?");
            }
            string[] fields = Fields(bytes, name, number);
            if (fields.Length == 0) continue;
            if (fields.Length != 2)
            {
                throw new DataFormatException(name, number, $"expected \"image-path label-path\", found {fields.Length} fields " +
                    "(paths must not contain spaces)");
            }
            entries.Add(new ListEntry(
                Resolve(fields[0], "image", name, number, folder, exists),
                Resolve(fields[1], "label", name, number, folder, exists),
                number));
        }
        return entries.Count > 0 ? entries : throw new DataFormatException(name, null, "lists no images");
    }

    private static string[] Fields(ReadOnlySpan<byte> line, string name, int number)
    {
        line = line.Trim(" \t\r"u8);
        if (line.IsEmpty || line[0] == (byte)'#') return [];
        if (!Utf8.IsValid(line)) throw new DataFormatException(name, number, "is not valid UTF-8: is it a list file?");
        foreach (byte value in line)
        {
            if (value < 0x20 && value != (byte)'\t' || value == 0x7F)
            {
                throw new DataFormatException(name, number, $"holds the control character 0x{value:x2}: is it a list file?");
            }
        }
        return Encoding.UTF8.GetString(line).Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
    }

    private static string Resolve(string path, string what, string name, int number, string folder, Func<string, bool> exists)
    {
        string[] parts = path.Split(['/', '\\'], StringSplitOptions.RemoveEmptyEntries);
        parts = Array.FindAll(parts, part => part != ".");
        if (parts.Length > 0 && parts[0].Length == 2 && parts[0][1] == ':') parts = parts[1..];
        if (parts.Contains("..")) throw Bad("leaves the data folder with '..'; write it relative to the list file");
        if (parts.Length is 0 or > MaxDepth) throw Bad($"must name a file at most {MaxDepth} folders deep");
        for (int first = 0; first < parts.Length; first++)
        {
            string candidate = Path.Join(folder, string.Join(Path.DirectorySeparatorChar, parts, first, parts.Length - first));
            if (exists(candidate)) return candidate;
        }
        throw Bad($"is not in {folder}, with or without its leading folders; keep the list beside the folders it names");

        DataFormatException Bad(string problem) => new(name, number, $"{what} {ErrorText.Quote(path)} {problem}");
    }
}
