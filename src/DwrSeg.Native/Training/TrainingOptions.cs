using System.Collections.Immutable;
using DwrSeg.Native.Data;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;

namespace DwrSeg.Native.Training;

/// <summary>
/// How to train: the paper's recipe (section 4.2) by default. <see cref="For"/> chooses what depends on the data set.
/// </summary>
/// <remarks>
/// From the paper: SGD with momentum 0.9 and weight decay 5e-4 on all parameters, the poly schedule with base 0.02 and power 0.9, OHEM
/// cross-entropy, and the kinds of augmentation. This project's choice, as is usual for networks of this family: 8 images a batch, OHEM's
/// threshold 0.7 and its least share of 1/16, the number of epochs, Kaiming initialisation, and the ranges of the augmentation.
/// </remarks>
public sealed record TrainingOptions
{
    // A batch's images lie in one array.
    private static readonly int MostPixels = Array.MaxLength / 3;

    /// <summary>The network; its number of classes is the data set's.</summary>
    public required DwrSegConfig Model { get; init; }

    /// <summary>Crop, scales, flip and colour jitter.</summary>
    public required AugmentationOptions Augmentation { get; init; }

    /// <summary>Images per step, 1 to 1024.</summary>
    public int BatchSize { get; init; } = 8;

    /// <summary>Passes over the training set; the images left over when it is cut into batches are skipped, others each time.</summary>
    public int Epochs { get; init; } = 400;

    /// <summary>Learning rate of the first step.</summary>
    public double LearningRate { get; init; } = 0.02;

    /// <summary>Exponent of the poly schedule: rate = LearningRate · (1 − iteration / total)^Power.</summary>
    public double Power { get; init; } = 0.9;

    /// <summary>Steps over which the rate rises linearly to the schedule's. The paper has none.</summary>
    public int WarmupSteps { get; init; }

    /// <summary>Momentum of SGD, as PyTorch's without Nesterov.</summary>
    public double Momentum { get; init; } = 0.9;

    /// <summary>Weight decay, added to the gradient of every parameter.</summary>
    public double WeightDecay { get; init; } = 5e-4;

    /// <summary>OHEM: pixels whose right class has more than this probability are easy. 1 keeps every pixel.</summary>
    public double OhemThreshold { get; init; } = 0.7;

    /// <summary>OHEM: the share of a batch's labelled pixels that is kept at least, the hardest.</summary>
    public double OhemMinKept { get; init; } = 1.0 / 16;

    /// <summary>Decides initial weights, order and augmentation.</summary>
    public ulong Seed { get; init; }

    /// <summary>A weights file to start from. Where its classes differ the classifier starts fresh. Null: all weights do.</summary>
    public string? InitialWeights { get; init; }

    /// <summary>Epochs between validations; the last epoch is always validated.</summary>
    public int ValidationInterval { get; init; } = 1;

    /// <summary>The network's input size in validation, and the one written into the model; null: each image's own.</summary>
    public (int Height, int Width)? ValidationSize { get; init; }

    /// <summary>A checkpoint is written at the end of each epoch, and when this time has passed since the last one.</summary>
    public TimeSpan SaveInterval { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Steps between lines of training loss in the metrics.</summary>
    public int MetricsInterval { get; init; } = 10;

    /// <summary>Where to compute: <c>auto</c>, <c>cpu</c>, ….</summary>
    public string Device { get; init; } = "auto";

    /// <summary>Processor threads to compute with, 0 for one per processor. Sums are ordered by thread, so results depend on it.</summary>
    public int Threads { get; init; }

    /// <summary>Threads that prepare batches, 0 for the loader's choice. Results do not depend on it.</summary>
    public int Workers { get; init; }

    /// <summary>Type of the exported model's weights: F32, F16 or BF16. One-dimensional tensors stay F32.</summary>
    public SafetensorsDType ExportType { get; init; } = SafetensorsDType.F16;

    /// <summary>
    /// The recipe for a data set. Cityscapes at full size: crop 1024x512, scales 0.125 to 1.5, validated at 1024x512. Others: the paper's
    /// CamVid crop of 960x720 is the whole frame, so the crop is the image's own size, shrunk in proportion to fit 960x720; scales 0.5 to 2.
    /// </summary>
    /// <param name="training">The training set.</param>
    /// <param name="model">The network; null for DWRSeg-B.</param>
    /// <exception cref="DatasetException">The first image cannot be read.</exception>
    public static TrainingOptions For(SegmentationDataset training, DwrSegConfig? model = null)
    {
        ArgumentNullException.ThrowIfNull(training);
        AugmentationOptions augmentation = AugmentationOptions.For(training);
        (int width, int height) = training.SizeOf(0);
        bool isReduced = augmentation.CropWidth < width || augmentation.CropHeight < height;
        return new TrainingOptions
        {
            Model = (model ?? DwrSegConfig.Base()) with { Classes = training.Classes.Count },
            Augmentation = augmentation,
            ValidationSize = isReduced ? (augmentation.CropHeight, augmentation.CropWidth) : null,
        };
    }

    /// <summary>Checks every value.</summary>
    /// <exception cref="ArgumentException">A value is out of range; the message names it.</exception>
    public void Validate()
    {
        Model.Validate();
        Augmentation.Validate();
        Require(BatchSize is >= 1 and <= 1024, "batch", BatchSize, "1 to 1024");
        long pixels = (long)BatchSize * Augmentation.CropHeight * Augmentation.CropWidth;
        Require(pixels <= MostPixels, "batch x crop", $"{BatchSize} x {Augmentation.CropHeight}x{Augmentation.CropWidth}, {pixels} pixels",
            $"up to {MostPixels} pixels");
        Require(Epochs is >= 1 and <= 1_000_000, "epochs", Epochs, "1 to 1000000");
        Require(LearningRate is > 0 and <= 100, "learning-rate", LearningRate, "above 0 to 100");
        Require(Power is >= 0 and <= 10, "power", Power, "0 to 10");
        Require(WarmupSteps >= 0, "warmup", WarmupSteps, "0 or more");
        Require(Momentum is >= 0 and < 1, "momentum", Momentum, "0 to below 1");
        Require(WeightDecay is >= 0 and <= 1, "weight-decay", WeightDecay, "0 to 1");
        Require(OhemThreshold is > 0 and <= 1, "ohem-threshold", OhemThreshold, "above 0 to 1");
        Require(OhemMinKept is >= 0 and <= 1, "ohem-min-kept", OhemMinKept, "0 to 1");
        Require(ValidationInterval >= 1, "validate-every", ValidationInterval, "1 or more");
        Require(ValidationSize is null or ( >= 1 and <= 16384, >= 1 and <= 16384), "size", ValidationSize, "1x1 to 16384x16384");
        Require(SaveInterval >= TimeSpan.Zero, "save-minutes", SaveInterval, "0 or more");
        Require(MetricsInterval >= 1, "metrics-every", MetricsInterval, "1 or more");
        Require(Threads is >= 0 and <= 1024, "threads", Threads, "0 to 1024");
        Require(Workers is >= 0 and <= 256, "workers", Workers, "0 to 256");
        Require(ExportType is SafetensorsDType.F32 or SafetensorsDType.F16 or SafetensorsDType.BF16, "export-type", ExportType, "F32, F16 or BF16");
    }

    internal OhemCrossEntropy Loss => new(SegmentationSample.Ignore, (float)OhemThreshold, (float)OhemMinKept);

    /// <summary>
    /// The options that decide what a training computes, by the names that the command line gives them. A resumed run must agree on all.
    /// </summary>
    internal static ImmutableArray<(string Name, Func<TrainingOptions, object?> Value)> Decisive { get; } =
    [
        ("batch", o => o.BatchSize),
        ("epochs", o => o.Epochs),
        ("crop", o => $"{o.Augmentation.CropHeight}x{o.Augmentation.CropWidth}"),
        ("min-scale", o => o.Augmentation.MinScale),
        ("max-scale", o => o.Augmentation.MaxScale),
        ("flip", o => o.Augmentation.FlipProbability),
        ("brightness", o => o.Augmentation.Brightness),
        ("contrast", o => o.Augmentation.Contrast),
        ("saturation", o => o.Augmentation.Saturation),
        ("learning-rate", o => o.LearningRate),
        ("power", o => o.Power),
        ("warmup", o => o.WarmupSteps),
        ("momentum", o => o.Momentum),
        ("weight-decay", o => o.WeightDecay),
        ("ohem-threshold", o => o.OhemThreshold),
        ("ohem-min-kept", o => o.OhemMinKept),
        ("seed", o => o.Seed),
        ("validate-every", o => o.ValidationInterval),
        ("size", o => o.ValidationSize is { } size ? $"{size.Height}x{size.Width}" : "own"),
        ("metrics-every", o => o.MetricsInterval),
        ("threads", o => o.Threads),
    ];

    private static void Require(bool holds, string name, object? found, string possible)
    {
        if (!holds) throw new ArgumentException(FormattableString.Invariant($"{name} is {found}; {possible} is possible."));
    }
}
