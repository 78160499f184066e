namespace DwrSeg.Cli;

/// <summary>The weights that come with the program.</summary>
internal static class DefaultModel
{
    public const string FileName = "dwrseg-base-camvid.safetensors";

    /// <summary>Beside the executable, or in <c>models/</c> of a folder above it or above the current one (a checkout).</summary>
    /// <exception cref="FileNotFoundException">It is in none of these places.</exception>
    public static string Find()
    {
        foreach (string start in (string[])[AppContext.BaseDirectory, Environment.CurrentDirectory])
        {
            for (DirectoryInfo? folder = new(start); folder is not null; folder = folder.Parent)
            {
                string path = Path.Combine(folder.FullName, "models", FileName);
                if (File.Exists(path)) return path;
            }
        }
        throw new FileNotFoundException($"models/{FileName} is neither beside the program nor in a folder above it; name a weights file with --model.");
    }
}
