namespace DwrSeg.Native.Training;

/// <summary>How a training ended.</summary>
/// <param name="IsComplete">All epochs are done; false: it was cancelled, and can be resumed.</param>
/// <param name="Iteration">Steps done.</param>
/// <param name="BestMeanIou">The best validation mIoU; null without a validation.</param>
/// <param name="BestEpoch">Epochs done when it was reached; null without a validation.</param>
/// <param name="ModelFile">The exported model; null where the training is not complete.</param>
public sealed record TrainingResult(bool IsComplete, long Iteration, double? BestMeanIou, int? BestEpoch, string? ModelFile);
