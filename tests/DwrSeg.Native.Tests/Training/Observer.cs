using DwrSeg.Native.Evaluation;
using DwrSeg.Native.Training;

namespace DwrSeg.Native.Tests.Training;

/// <summary>Watches a training, and meddles with it.</summary>
internal sealed class Observer : ITrainingObserver
{
    public Action<TrainingStart>? Started { get; init; }

    public Action<TrainingStep>? Stepped { get; init; }

    public Action<int>? Validating { get; init; }

    public Action<int>? Validated { get; init; }

    public List<TrainingStep> Steps { get; } = [];

    public List<(int Epoch, double? MeanIou, bool IsBest)> Validations { get; } = [];

    public void OnStarted(TrainingStart start) => Started?.Invoke(start);

    public void OnStep(in TrainingStep step)
    {
        Steps.Add(step);
        Stepped?.Invoke(step);
    }

    public void OnValidating(int done, int count) => Validating?.Invoke(done);

    public void OnValidated(int epoch, EvaluationResult result, bool isBest)
    {
        Validations.Add((epoch, result.MeanIou, isBest));
        Validated?.Invoke(epoch);
    }
}
