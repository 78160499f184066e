using DwrSeg.Native.Backends;
using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Data;

/// <summary>
/// The random changes a training sample undergoes (section 4.2 of the paper: colour jitter, random horizontal flip, random resample,
/// random crop).
/// </summary>
/// <remarks>
/// The paper gives neither the jitter's nor the resampling's ranges. The defaults follow common practice for real-time networks of this
/// family: factors of 0.5 to 1.5 for brightness, contrast and saturation; scales of 0.125 to 1.5 for Cityscapes' 2048x1024 images and
/// 0.5 to 2.0 for smaller ones, where an eighth would leave nothing to see.
/// </remarks>
public sealed record AugmentationOptions
{
    /// <summary>Width of the crop in pixels.</summary>
    public required int CropWidth { get; init; }

    /// <summary>Height of the crop in pixels.</summary>
    public required int CropHeight { get; init; }

    /// <summary>Smallest scale; the scale is drawn uniformly from [MinScale, MaxScale].</summary>
    public double MinScale { get; init; } = 0.5;

    /// <summary>Largest scale.</summary>
    public double MaxScale { get; init; } = 2.0;

    /// <summary>Probability of a horizontal flip.</summary>
    public double FlipProbability { get; init; } = 0.5;

    /// <summary>Brightness is multiplied by a factor drawn from 1 ± this; 0 turns it off.</summary>
    public double Brightness { get; init; } = 0.5;

    /// <summary>Contrast about the image's mean luma is multiplied by a factor drawn from 1 ± this; 0 turns it off.</summary>
    public double Contrast { get; init; } = 0.5;

    /// <summary>Saturation is multiplied by a factor drawn from 1 ± this; 0 turns it off.</summary>
    public double Saturation { get; init; } = 0.5;

    /// <summary>How the result is normalised; its mean is also the padding's colour.</summary>
    internal Normalization Normalization { get; init; } = Normalization.ImageNet;

    /// <summary>The paper's recipe for a data set, judging by the first image's size and the kind of data set.</summary>
    /// <remarks>
    /// Cityscapes: crop 1024x512, scales 0.125 to 1.5. Others: the paper's CamVid crop is the whole 960x720 frame, so the crop is the
    /// image's own size, shrunk in proportion to fit 960x720 where it is larger; scales 0.5 to 2.0.
    /// </remarks>
    /// <exception cref="DatasetException">The first image cannot be read.</exception>
    public static AugmentationOptions For(SegmentationDataset dataset)
    {
        ArgumentNullException.ThrowIfNull(dataset);
        (int width, int height) = dataset.SizeOf(0);
        if (dataset.Classes.Names.SequenceEqual(ClassList.Cityscapes.Names) && width >= 2048 && height >= 1024)
        {
            return new AugmentationOptions { CropWidth = 1024, CropHeight = 512, MinScale = 0.125, MaxScale = 1.5 };
        }
        double shrink = Math.Min(1, Math.Min(960.0 / Math.Max(width, height), 720.0 / Math.Min(width, height)));
        return new AugmentationOptions
        {
            CropWidth = Math.Max(1, (int)Math.Round(width * shrink)),
            CropHeight = Math.Max(1, (int)Math.Round(height * shrink)),
        };
    }

    internal void Validate()
    {
        Require(CropWidth is >= 1 and <= 1 << 14 && CropHeight is >= 1 and <= 1 << 14, "crop", $"{CropWidth}x{CropHeight}", "1 to 16384");
        Require(MinScale is >= 1.0 / 64 and <= 64 && MaxScale >= MinScale && MaxScale <= 64, "scale range", $"{MinScale}..{MaxScale}",
            "rising, 1/64 to 64");
        Require(FlipProbability is >= 0 and <= 1, "flip probability", FlipProbability, "0 to 1");
        Require(Brightness is >= 0 and <= 1, "brightness jitter", Brightness, "0 to 1");
        Require(Contrast is >= 0 and <= 1, "contrast jitter", Contrast, "0 to 1");
        Require(Saturation is >= 0 and <= 1, "saturation jitter", Saturation, "0 to 1");
        Require(Normalization is { DeviationR: > 0, DeviationG: > 0, DeviationB: > 0 }, "normalization", Normalization,
            "by deviations above 0");
    }

    private static void Require(bool holds, string what, object found, string wanted)
    {
        if (!holds) throw new ArgumentException($"the augmentation's {what} is {found}, must be {wanted}");
    }
}
