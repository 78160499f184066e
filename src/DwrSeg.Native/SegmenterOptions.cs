namespace DwrSeg.Native;

/// <summary>At which size the network sees an image.</summary>
public enum SizePolicy
{
    /// <summary>
    /// Every image is resized to the size that the model was trained for, as in the paper (section 4.1), whatever its aspect; where the
    /// weights file does not give that size, as <see cref="Native"/>.
    /// </summary>
    Trained,

    /// <summary>The image's own size. Memory and time grow with the image.</summary>
    Native,
}

/// <summary>How a <see cref="Segmenter"/> works.</summary>
public sealed record SegmenterOptions
{
    /// <summary><c>auto</c> (the first that is there, the processor at last), <c>cpu</c>, <c>cuda</c>, <c>cuda:N</c>, <c>emulated</c>.</summary>
    public string Device { get; init; } = "auto";

    /// <summary>The largest number of <see cref="Threads"/>.</summary>
    public const int MaxThreads = 1024;

    /// <summary>Processor threads to use, the caller's included, at most <see cref="MaxThreads"/>; 0: one per processor.</summary>
    public int Threads { get; init; }

    /// <summary>How activations are stored and multiplied; the processor knows fp32 alone.</summary>
    public Precision Precision { get; init; } = Precision.Automatic;

    /// <summary>Whose code computes dense convolutions on a CUDA device.</summary>
    public ConvolutionChoice Convolutions { get; init; } = ConvolutionChoice.Auto;

    /// <summary>The network's input size in pixels, 1 to <see cref="Segmenter.MaxSide"/> each; null: <see cref="SizePolicy"/> decides.</summary>
    public (int Height, int Width)? InputSize { get; init; }

    /// <summary>What decides the network's input size where <see cref="InputSize"/> is null.</summary>
    public SizePolicy SizePolicy { get; init; } = SizePolicy.Trained;

    /// <exception cref="ArgumentException">A value is out of range; the message names it.</exception>
    internal void Validate()
    {
        ArgumentException.ThrowIfNullOrEmpty(Device);
        if (Threads is < 0 or > MaxThreads) throw new ArgumentOutOfRangeException(nameof(Threads), Threads, $"0 to {MaxThreads} are possible.");
        if (!Enum.IsDefined(Convolutions)) throw new ArgumentOutOfRangeException(nameof(Convolutions), Convolutions, "There is no such choice.");
        if (!Enum.IsDefined(SizePolicy)) throw new ArgumentOutOfRangeException(nameof(SizePolicy), SizePolicy, "There is no such policy.");
        if (!Enum.IsDefined(Precision)) throw new ArgumentOutOfRangeException(nameof(Precision), Precision, "There is no such precision.");
        if (InputSize is not { } size) return;
        Segmenter.RequireSide(size.Height, "InputSize.Height");
        Segmenter.RequireSide(size.Width, "InputSize.Width");
    }
}
