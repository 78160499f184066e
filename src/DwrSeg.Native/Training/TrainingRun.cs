using System.Diagnostics;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Data;
using DwrSeg.Native.Evaluation;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;

namespace DwrSeg.Native.Training;

/// <summary>One run of the trainer, from its start or its last checkpoint to its end or its interruption.</summary>
internal sealed class TrainingRun : IDisposable
{
    private readonly TrainingOptions _options;
    private readonly SegmentationDataset _training;
    private readonly SegmentationDataset? _validation;
    private readonly RunFolder _files;
    private readonly ITrainingObserver? _observer;
    private readonly string _device;
    private readonly TrainingOrigin _origin;
    private readonly ModelMetadata _metadata;
    private readonly LayerGraph _graph;
    private readonly ITensorStore _store;
    private readonly TrainingState _state;
    private readonly TrainingLoader _loader;
    private readonly TrainingPlan _plan;
    private readonly Evaluator _evaluator;
    private readonly PolySchedule _schedule;
    private readonly int _stepsPerEpoch;
    private readonly StepClock _clock;
    private long _savedAt = -1;
    private int _savedValidation;
    private long _savedTime;

    public TrainingRun(
        IBackend backend, TrainingOptions options, SegmentationDataset training, SegmentationDataset? validation, RunFolder files,
        ITrainingObserver? observer)
    {
        (_options, _training, _validation, _files, _observer) = (options, training, validation, files, observer);
        _device = $"{backend.Name} ({backend.Description})";
        _origin = TrainingOrigin.Of(backend, options, training, validation);
        (int width, int height) = training.SizeOf(0);
        _metadata = new ModelMetadata
        {
            Config = options.Model,
            Classes = training.Classes,
            Normalization = options.Augmentation.Normalization,
            InputSize = options.ValidationSize ?? (height, width),
        };
        _graph = TrainingPlan.CreateGraph(options);
        _stepsPerEpoch = Math.Max(1, training.Count / options.BatchSize);
        _schedule = new PolySchedule(options.LearningRate, options.Power, (long)options.Epochs * _stepsPerEpoch, options.WarmupSteps);
        _clock = new StepClock(options.BatchSize);
        _store = backend.CreateStore();
        try
        {
            _state = files.Resumes ? Resume() : Start();
            // The plan knows how much memory a step takes, and whether it is there; it comes before all else that takes some.
            _plan = new TrainingPlan(_graph, backend, _store);
            _loader = new TrainingLoader(training, options.Augmentation, LoaderOptions());
            _evaluator = new Evaluator(backend, _store, _metadata, options.ValidationSize);
            // Nothing of an earlier run is touched before all that can fail at the start has not.
            if (!files.Resumes) files.Clear();
            files.Metrics.Rewind(_state);
        }
        catch
        {
            _plan?.Dispose();
            _loader?.Dispose();
            _store.Dispose();
            throw;
        }
    }

    private int EpochsDone => (int)(_state.Iteration / _stepsPerEpoch);

    private int StepInEpoch => (int)(_state.Iteration % _stepsPerEpoch);

    private double? BestMeanIou => _state.BestEpoch > 0 ? _state.BestMeanIou : null;

    public TrainingResult Execute(CancellationToken cancellation)
    {
        _observer?.OnStarted(new TrainingStart(
            _device, _training.Count, _validation?.Count ?? 0, _stepsPerEpoch, _schedule.Total, _state.Iteration, BestMeanIou, _plan.ActivationBytes));
        bool isComplete = false;
        try
        {
            // What an early mistake would waste is seen at once: the first file is written before the first step.
            Save();
            while (!isComplete)
            {
                cancellation.ThrowIfCancellationRequested();
                if (IsValidationDue()) Validate(cancellation);
                isComplete = _state.Iteration >= _schedule.Total;
                if (isComplete) break;
                if (IsSaveDue()) Save();
                Step(cancellation);
            }
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
        }
        Save();
        if (isComplete) Export();
        return new TrainingResult(
            isComplete, _state.Iteration, BestMeanIou, BestMeanIou is null ? null : _state.BestEpoch, isComplete ? _files.Model : null);
    }

    public void Dispose()
    {
        _evaluator.Dispose();
        _plan.Dispose();
        _loader.Dispose();
        _store.Dispose();
    }

    private TrainingState Resume()
    {
        using SafetensorsFile file = SafetensorsFile.Open(_files.Last);
        TrainingState state = TrainingCheckpoint.Load(file, _graph, _store, _metadata, _options, _origin, _stepsPerEpoch);
        if (state.BestEpoch > 0 && !File.Exists(_files.Best))
        {
            throw new TrainingException($"{_files.Best} is missing, though {_files.Last} tells of it: it holds the weights of epoch " +
                $"{state.BestEpoch}, the best so far. Put it back, or start a new run.");
        }
        (_savedAt, _savedValidation, _savedTime) = (state.Iteration, state.ValidatedEpoch, Stopwatch.GetTimestamp());
        return state;
    }

    private TrainingState Start()
    {
        if (_options.InitialWeights is { } file) InitialWeights.Load(file, _options.Model, _training.Classes, _graph, _store, _options.Seed);
        else ModelWeights.Initialize(_graph, _store, _options.Seed);
        return new TrainingState { InitialWeights = _origin.InitialWeights ?? TrainingState.NoFile };
    }

    private TrainingLoaderOptions LoaderOptions()
    {
        var options = new TrainingLoaderOptions
        {
            BatchSize = _options.BatchSize,
            Seed = _options.Seed,
            StartEpoch = EpochsDone,
            StartStep = StepInEpoch,
        };
        return _options.Workers > 0 ? options with { Threads = _options.Workers } : options;
    }

    private void Step(CancellationToken cancellation)
    {
        float rate = _schedule.At(_state.Iteration), loss;
        int epoch = EpochsDone + 1;
        using (TrainingBatch batch = _loader.Next(cancellation))
        {
            if (_plan.Step(batch.Images, batch.Labels, rate) is { } value)
            {
                if (!float.IsFinite(value)) throw Diverged($"the loss is {value}", _state.Iteration);
                _state.Updates++;
                _state.Recent = _state.Recent.Add(value);
                _state.Epoch = _state.Epoch.Add(value);
                loss = value;
            }
            else
            {
                loss = float.NaN;
            }
        }
        int step = StepInEpoch + 1;
        _state.Iteration++;
        _clock.Tick();
        if (_state.Iteration % _options.MetricsInterval == 0)
        {
            _files.Metrics.Step(epoch, step, _state.Iteration, _state.Recent.Mean, rate, _clock.ImagesPerSecond);
            _state.Recent = default;
        }
        if (step == _stepsPerEpoch)
        {
            _files.Metrics.Epoch(epoch, _state.Iteration, _state.Epoch.Mean);
            _state.Epoch = default;
        }
        TimeSpan remaining = _clock.TimeFor(_schedule.Total - _state.Iteration);
        _observer?.OnStep(new TrainingStep(
            epoch, step, _state.Iteration, float.IsNaN(loss) ? null : loss, rate, _clock.ImagesPerSecond, remaining));
    }

    private bool IsValidationDue() =>
        _validation is not null && StepInEpoch == 0 && EpochsDone > _state.ValidatedEpoch
        && (EpochsDone % _options.ValidationInterval == 0 || EpochsDone == _options.Epochs);

    private void Validate(CancellationToken cancellation)
    {
        RequireFiniteWeights();
        _evaluator.Refresh();
        EvaluationResult result = _evaluator.Run(
            _validation!, (_, _, done) => _observer?.OnValidating(done, _validation!.Count), cancellation);
        _state.ValidatedEpoch = EpochsDone;
        bool isBest = result.MeanIou > _state.BestMeanIou;
        if (isBest)
        {
            // Before the state that tells of it: killed in between, the resumed run validates again and writes the same file.
            (_state.BestMeanIou, _state.BestEpoch) = (result.MeanIou!.Value, EpochsDone);
            var writer = new SafetensorsWriter();
            writer.Metadata[ModelMetadata.Key] = _metadata.ToJson();
            ModelWeights.Save(writer, _graph, _store, _state.Updates);
            writer.Save(_files.Best);
        }
        _files.Metrics.Validation(EpochsDone, _state.Iteration, result);
        Save();
        _observer?.OnValidated(EpochsDone, result, isBest);
        _clock.Restart();
    }

    private bool IsSaveDue() =>
        StepInEpoch == 0 || Stopwatch.GetElapsedTime(_savedTime) >= _options.SaveInterval;

    private void Save()
    {
        if (_savedAt == _state.Iteration && _savedValidation == _state.ValidatedEpoch) return;
        RequireFiniteWeights();
        _files.Metrics.Sync();
        TrainingCheckpoint.Save(_files.Last, _graph, _store, _metadata, _options, _origin, _state);
        (_savedAt, _savedValidation, _savedTime) = (_state.Iteration, _state.ValidatedEpoch, Stopwatch.GetTimestamp());
    }

    private void Export()
    {
        string weights = BestMeanIou is null ? _files.Last : _files.Best;
        try
        {
            ModelExport.Write(weights, _files.Model, _options.ExportType);
        }
        catch (OverflowException e)
        {
            throw new TrainingException($"The training is complete, but its weights can't be exported as {_options.ExportType}: {e.Message}. " +
                $"They are in {weights}; to get {_files.Model} run again with --resume --export-type f32. Weights this large are the mark of a " +
                "learning rate that is too high.", e);
        }
    }

    // A step can overflow the weights while its own loss is still finite; the last good checkpoint must not be replaced by that.
    private void RequireFiniteWeights()
    {
        float[] values = [];
        foreach ((string name, Shape shape) in _store.Entries)
        {
            if (values.Length < shape.Elements) values = new float[shape.Elements];
            Span<float> used = values.AsSpan(0, (int)shape.Elements);
            _store.Read(name, used);
            foreach (float value in used)
            {
                if (!float.IsFinite(value)) throw Diverged($"'{name}' holds {value}", Math.Max(0, _state.Iteration - 1));
            }
        }
    }

    private TrainingException Diverged(string what, long step)
    {
        string kept = _savedAt < 0 ? "No checkpoint was written." : $"{_files.Last} keeps the state of step {_savedAt}.";
        return new TrainingException(FormattableString.Invariant(
            $"The training diverged in epoch {step / _stepsPerEpoch + 1}, step {step % _stepsPerEpoch + 1} ")
            + FormattableString.Invariant($"(step {step + 1} in all, learning rate {_schedule.At(step):g3}): {what}. ")
            + $"{kept} Start again with a lower --learning-rate, or with --warmup.");
    }
}
