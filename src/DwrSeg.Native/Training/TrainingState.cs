namespace DwrSeg.Native.Training;

/// <summary>Where a training stands, besides what its tensors hold.</summary>
internal sealed class TrainingState
{
    public const string NoFile = "none";

    /// <summary>Steps done, skipped batches included: epoch · batches per epoch + step.</summary>
    public long Iteration { get; set; }

    /// <summary>Steps that changed the weights: what BN counts as batches tracked.</summary>
    public long Updates { get; set; }

    /// <summary>Epochs done when the network was last validated.</summary>
    public int ValidatedEpoch { get; set; }

    /// <summary>The best validation mIoU so far; −1 before the first.</summary>
    public double BestMeanIou { get; set; } = -1;

    /// <summary>Epochs done when it was reached.</summary>
    public int BestEpoch { get; set; }

    /// <summary>
    /// Digest of the file that the weights started from; <see cref="NoFile"/> where there was none, null where an older checkpoint does not tell.
    /// </summary>
    public string? InitialWeights { get; init; } = NoFile;

    /// <summary>Loss since the last line of metrics.</summary>
    public LossSum Recent { get; set; }

    /// <summary>Loss of the epoch so far.</summary>
    public LossSum Epoch { get; set; }
}

/// <summary>A running mean of losses.</summary>
internal readonly record struct LossSum(double Sum, long Count)
{
    public double? Mean => Count > 0 ? Sum / Count : null;

    public LossSum Add(float loss) => new(Sum + loss, Count + 1);
}
