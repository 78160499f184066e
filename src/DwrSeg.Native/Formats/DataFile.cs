namespace DwrSeg.Native.Formats;

/// <summary>Reads small untrusted files whole.</summary>
internal static class DataFile
{
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="DataFormatException">It is a folder or larger than <paramref name="maxBytes"/>.</exception>
    public static byte[] ReadAll(string path, int maxBytes)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (Directory.Exists(path)) throw new DataFormatException(path, null, "is a folder; give a file");
        if (!File.Exists(path)) throw new FileNotFoundException($"{path}: no such file", path);
        using FileStream stream = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
        if (stream.Length > maxBytes)
        {
            throw new DataFormatException(path, null, $"has {stream.Length} bytes, at most {maxBytes} are read: is it the right file?");
        }
        byte[] bytes = new byte[(int)stream.Length];
        int length = stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        return length == bytes.Length ? bytes : bytes[..length];
    }
}
