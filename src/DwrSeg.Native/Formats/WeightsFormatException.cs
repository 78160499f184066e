namespace DwrSeg.Native.Formats;

/// <summary>A weights or checkpoint file that cannot be used as it is; the message names the file, the tensor and what to do.</summary>
public sealed class WeightsFormatException : FormatException
{
    internal WeightsFormatException(string file, string? tensor, string problem, Exception? inner = null)
        : base(tensor is null ? $"{file}: {problem}" : $"{file}: tensor {ErrorText.Quote(tensor)}: {problem}", inner)
    {
        File = file;
        Tensor = tensor;
    }

    /// <summary>The file's path, or the name given for a stream or a block of memory.</summary>
    public string File { get; }

    /// <summary>The tensor at fault; null when the fault is the file's own.</summary>
    public string? Tensor { get; }
}
