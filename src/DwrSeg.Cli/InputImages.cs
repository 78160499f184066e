namespace DwrSeg.Cli;

/// <summary>Which images a list of files and folders means.</summary>
internal static class InputImages
{
    public const string ClassesSuffix = ".classes.png", OverlaySuffix = ".overlay.png";

    private static readonly string[] Extensions = [".jpg", ".jpeg", ".png"];

    /// <summary>
    /// Files as they are, folders as their images in the order of their names, each file once. What an earlier run wrote is left out of
    /// folders, as are files whose name begins with a dot: other systems leave such beside real images.
    /// </summary>
    /// <exception cref="DirectoryNotFoundException">A folder holds no image.</exception>
    public static List<string> Expand(IEnumerable<string> arguments)
    {
        var images = new List<string>();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (string argument in arguments)
        {
            string[] files = Directory.Exists(argument) ? Walk(argument) : [argument];
            if (files.Length == 0) throw new DirectoryNotFoundException($"{argument}: no {string.Join(", ", Extensions)} file in this folder");
            images.AddRange(files.Where(f => seen.Add(Path.GetFullPath(f))));
        }
        return images;
    }

    private static string[] Walk(string folder) =>
    [
        .. Directory.EnumerateFiles(folder)
            .Where(f => Extensions.Contains(Path.GetExtension(f), StringComparer.OrdinalIgnoreCase))
            .Where(f => !Path.GetFileName(f.AsSpan()).StartsWith('.'))
            .Where(f => !f.EndsWith(ClassesSuffix, StringComparison.Ordinal) && !f.EndsWith(OverlaySuffix, StringComparison.Ordinal))
            .Order(StringComparer.Ordinal),
    ];
}

/// <summary>Names for results: the image's without extension, numbered where images of several folders share it.</summary>
internal sealed class OutputNames
{
    // Case is ignored, since some file systems do.
    private readonly HashSet<string> _taken = new(StringComparer.OrdinalIgnoreCase);

    public string Next(string image)
    {
        string stem = Path.GetFileNameWithoutExtension(image), name = stem;
        for (int i = 2; !_taken.Add(name); i++) name = $"{stem}-{i}";
        return name;
    }
}
