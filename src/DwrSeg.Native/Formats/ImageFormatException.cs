namespace DwrSeg.Native.Formats;

/// <summary>An image or label image that cannot be used as it is; the message names the file and what to do.</summary>
public sealed class ImageFormatException : FormatException
{
    internal ImageFormatException(string file, string problem, Exception? inner = null)
        : base($"{file}: {problem}", inner) => File = file;

    /// <summary>The file's path, or the name given for a stream or a block of memory.</summary>
    public string File { get; }
}
