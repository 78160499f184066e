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

    /// <summary>Processor threads to use, the caller's included; 0: one per processor.</summary>
    public int Threads { get; init; }

    /// <summary>The network's input size in pixels, 1 to <see cref="Segmenter.MaxSide"/> each; null: <see cref="SizePolicy"/> decides.</summary>
    public (int Height, int Width)? InputSize { get; init; }

    /// <summary>What decides the network's input size where <see cref="InputSize"/> is null.</summary>
    public SizePolicy SizePolicy { get; init; } = SizePolicy.Trained;
}
