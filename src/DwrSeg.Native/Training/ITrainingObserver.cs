using DwrSeg.Native.Evaluation;

namespace DwrSeg.Native.Training;

/// <summary>Told how a training goes, on the thread that trains; what takes long here slows it down.</summary>
public interface ITrainingObserver
{
    /// <summary>Training begins or goes on.</summary>
    void OnStarted(TrainingStart start)
    {
    }

    /// <summary>A step is done.</summary>
    void OnStep(in TrainingStep step)
    {
    }

    /// <summary>Validation has done so many of so many images.</summary>
    void OnValidating(int done, int count)
    {
    }

    /// <summary>A validation is done.</summary>
    /// <param name="epoch">Epochs done.</param>
    /// <param name="result">What was measured.</param>
    /// <param name="isBest">It is the best so far, and <c>best.safetensors</c> holds its weights.</param>
    void OnValidated(int epoch, EvaluationResult result, bool isBest)
    {
    }
}

/// <summary>What a training starts with.</summary>
/// <param name="Device">The device in one line.</param>
/// <param name="Images">Images of the training set.</param>
/// <param name="ValidationImages">Images of the validation set, 0 without one.</param>
/// <param name="StepsPerEpoch">Batches of an epoch.</param>
/// <param name="TotalSteps">Steps of the whole training.</param>
/// <param name="Iteration">Steps done already, in the run that this one resumes.</param>
/// <param name="BestMeanIou">The best validation so far; null before the first.</param>
/// <param name="ActivationBytes">Memory of a step's activations.</param>
public sealed record TrainingStart(
    string Device, int Images, int ValidationImages, int StepsPerEpoch, long TotalSteps, long Iteration, double? BestMeanIou, long ActivationBytes);

/// <summary>A training step that is done.</summary>
/// <param name="Epoch">The epoch, from 1 on.</param>
/// <param name="Step">The step within it, from 1 on.</param>
/// <param name="Iteration">Steps done in all.</param>
/// <param name="Loss">The batch's loss; null where no pixel of it has a label, so that it was skipped.</param>
/// <param name="LearningRate">The rate of this step.</param>
/// <param name="ImagesPerSecond">Recent speed, waiting for data included.</param>
/// <param name="Remaining">Time until the last step at that speed, without validations.</param>
public readonly record struct TrainingStep(
    int Epoch, int Step, long Iteration, float? Loss, float LearningRate, double ImagesPerSecond, TimeSpan Remaining);
