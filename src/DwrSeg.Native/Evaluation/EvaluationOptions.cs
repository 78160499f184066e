namespace DwrSeg.Native.Evaluation;

/// <summary>How to evaluate.</summary>
public sealed record EvaluationOptions
{
    /// <summary>The network's input size in pixels, to which images are resized; null: each image's own.</summary>
    public (int Height, int Width)? InputSize { get; init; }

    /// <summary>Where to compute: <c>auto</c>, <c>cpu</c>, ….</summary>
    public string Device { get; init; } = "auto";

    /// <summary>Processor threads to compute with, 0 for one per processor.</summary>
    public int Threads { get; init; }

    /// <summary>How activations are stored and multiplied; the processor knows fp32 alone.</summary>
    public Precision Precision { get; init; } = Precision.Automatic;

    /// <summary>Whose code computes dense convolutions on a CUDA device.</summary>
    public ConvolutionChoice Convolutions { get; init; } = ConvolutionChoice.Auto;
}
