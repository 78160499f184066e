namespace DwrSeg.Native.Formats;

/// <summary>The folder that results go into.</summary>
internal static class OutputFolder
{
    /// <summary>Creates the folder, and those above it, where it is missing.</summary>
    /// <exception cref="ArgumentException">The path is empty.</exception>
    /// <exception cref="IOException">A file is in its place, or it can't be created; the message names it.</exception>
    public static void Create(string path)
    {
        if (string.IsNullOrWhiteSpace(path)) throw new ArgumentException("The output folder's name is empty; name a folder, or '.' for the current one.");
        if (File.Exists(path)) throw new IOException($"{path} is a file; the output must be a folder");
        try
        {
            Directory.CreateDirectory(path);
        }
        catch (UnauthorizedAccessException e)
        {
            throw new IOException($"cannot create folder {path}: no permission; choose another or change the owner of the one above it", e);
        }
        catch (IOException e)
        {
            // File systems that make their own files answer that there is no such file.
            string reason = e is FileNotFoundException or DirectoryNotFoundException ? "its file system takes no new folder there" : e.Message.TrimEnd('.');
            throw new IOException($"cannot create folder {path}: {reason}; choose another", e);
        }
    }
}
