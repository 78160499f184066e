namespace DwrSeg.Native.Data;

/// <summary>A data set that cannot be used as it is; the message names the file or folder, what was found and what to do.</summary>
public sealed class DatasetException : Exception
{
    internal DatasetException(string path, string problem, Exception? inner = null) : base($"{path}: {problem}", inner) => Path = path;

    /// <summary>Passes on what a file's reader found; its message already begins with the path or gets it.</summary>
    internal DatasetException(string path, Exception reason)
        : base(reason.Message.Contains(path, StringComparison.Ordinal) ? reason.Message : $"{path}: {reason.Message}", reason)
        => Path = path;

    /// <summary>The file or folder at fault, or the name of the data set when no file is.</summary>
    public string Path { get; }
}
