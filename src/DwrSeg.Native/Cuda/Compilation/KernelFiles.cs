using System.Reflection;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;

namespace DwrSeg.Native.Cuda.Compilation;

/// <summary>Texts of kernels and their headers by name, and which headers a kernel includes.</summary>
/// <param name="read">The text of a file such as <c>depthwise_conv.cu</c>; null where there is none.</param>
internal sealed partial class KernelFiles(Func<string, string?> read)
{
    private const string ResourceFolder = "kernels/";

    /// <summary>The files embedded in this library.</summary>
    public static KernelFiles Embedded { get; } = new(ReadResource);

    /// <summary>Names of all embedded kernels, without ending.</summary>
    public static IReadOnlyList<string> EmbeddedKernels { get; } =
    [
        .. typeof(KernelFiles).Assembly.GetManifestResourceNames()
            .Where(n => n.StartsWith(ResourceFolder, StringComparison.Ordinal) && n.EndsWith(".cu", StringComparison.Ordinal))
            .Select(Path.GetFileNameWithoutExtension).Order(StringComparer.Ordinal)!,
    ];

    /// <summary>SHA-256 over all embedded files: another one where any kernel or header is.</summary>
    public static string EmbeddedHash { get; } = HashOfResources();

    /// <summary>A file's text; null where there is none.</summary>
    public string? Text(string name) => read(name);

    /// <summary>A kernel's text.</summary>
    /// <exception cref="ArgumentException">There is no such kernel.</exception>
    public string Kernel(string file) =>
        read(file + ".cu") ?? throw new ArgumentException($"there is no kernel file {file}.cu; there are {string.Join(", ", EmbeddedKernels)}");

    /// <summary>
    /// All headers that a text includes, directly or through others, in the order of first sight. One that is not here is left for the
    /// compiler to name.
    /// </summary>
    public IReadOnlyList<(string Name, string Text)> Headers(string text)
    {
        var headers = new List<(string Name, string Text)>();
        var seen = new HashSet<string>();
        Collect(text);
        return headers;

        void Collect(string from)
        {
            foreach (Match match in Include().Matches(from))
            {
                string name = match.Groups[1].Value;
                if (!seen.Add(name) || read(name) is not { } header) continue;
                headers.Add((name, header));
                Collect(header);
            }
        }
    }

    private static string HashOfResources()
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (string name in typeof(KernelFiles).Assembly.GetManifestResourceNames()
            .Where(n => n.StartsWith(ResourceFolder, StringComparison.Ordinal)).Order(StringComparer.Ordinal))
        {
            string text = ReadResource(name[ResourceFolder.Length..])!;
            hash.AppendData(Encoding.UTF8.GetBytes($"{name} {text.Length} {text}"));
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static string? ReadResource(string name)
    {
        using Stream? stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(ResourceFolder + name);
        if (stream is null) return null;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }

    [GeneratedRegex("""^[ \t]*#[ \t]*include[ \t]*["<]([^">\r\n]+)[">]""", RegexOptions.Multiline | RegexOptions.CultureInvariant)]
    private static partial Regex Include();
}
