namespace DwrSeg.Native.Formats;

/// <summary>A class list or list file that cannot be used as it is; the message names the file, the line and what to do.</summary>
public sealed class DataFormatException : FormatException
{
    internal DataFormatException(string file, int? line, string problem, Exception? inner = null)
        : base(line is null ? $"{file}: {problem}" : $"{file}, line {line}: {problem}", inner)
    {
        File = file;
        Line = line;
    }

    /// <summary>The file's path, or the name given for a block of memory.</summary>
    public string File { get; }

    /// <summary>The line at fault, from 1 on; null when the fault is the whole file's.</summary>
    public int? Line { get; }
}
