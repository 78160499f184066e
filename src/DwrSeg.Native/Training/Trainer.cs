using DwrSeg.Native.Backends;
using DwrSeg.Native.Data;
using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Training;

/// <summary>Trains DWRSeg networks.</summary>
/// <remarks>
/// A run's folder holds <c>last.safetensors</c> (the state to resume from), <c>best.safetensors</c> (the weights of the best validation),
/// <c>metrics.jsonl</c> and at the end <c>model.safetensors</c>, which alone is enough to segment. Files are replaced whole. A run that was
/// interrupted in any way, resumed with the same options on the same kind of machine, gives the same bits as one that was not.
/// </remarks>
public static class Trainer
{
    /// <summary>Trains until the last epoch is done or <paramref name="cancellation"/> is requested.</summary>
    /// <param name="options">How to train.</param>
    /// <param name="training">The training set.</param>
    /// <param name="validation">The validation set, of the same classes; null: no validation, and the last weights are the model's.</param>
    /// <param name="folder">The run's folder; created where it is missing.</param>
    /// <param name="existing">What to do where the folder holds a run.</param>
    /// <param name="observer">Told how it goes; null for none.</param>
    /// <param name="cancellation">Ends the training after the current step, with its state saved.</param>
    /// <exception cref="ArgumentException">An option is out of range, or the data sets do not fit the network.</exception>
    /// <exception cref="DatasetException">An image or its labels can't be read, or they do not fill a batch.</exception>
    /// <exception cref="WeightsFormatException">The checkpoint or the initial weights are not sound.</exception>
    /// <exception cref="TrainingException">The folder holds a run, it was started with other options, or the training diverged.</exception>
    /// <exception cref="DeviceUnavailableException">The device is not there.</exception>
    /// <exception cref="InsufficientMemoryException">A step of this batch and crop does not fit into the machine's memory.</exception>
    /// <exception cref="IOException">A file can't be written.</exception>
    public static TrainingResult Run(
        TrainingOptions options, SegmentationDataset training, SegmentationDataset? validation, string folder,
        ExistingRun existing = ExistingRun.Refuse, ITrainingObserver? observer = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        // The number in effect is what a checkpoint must record.
        if (options.Threads == 0) options = options with { Threads = Environment.ProcessorCount };
        using IBackend backend = Devices.Open(options.Device, options.Threads, out _, Precision.Float32);
        return Run(backend, options, training, validation, folder, existing, observer, cancellation);
    }

    internal static TrainingResult Run(
        IBackend backend, TrainingOptions options, SegmentationDataset training, SegmentationDataset? validation, string folder,
        ExistingRun existing = ExistingRun.Refuse, ITrainingObserver? observer = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(training);
        options.Validate();
        RequireFit(options, training, validation);
        using RunFolder files = RunFolder.Open(folder, existing);
        using TrainingRun run = Start();
        return run.Execute(cancellation);

        TrainingRun Start()
        {
            try
            {
                return new TrainingRun(backend, options, training, validation, files, observer);
            }
            catch
            {
                files.Abandon();
                throw;
            }
        }
    }

    private static void RequireFit(TrainingOptions options, SegmentationDataset training, SegmentationDataset? validation)
    {
        if (options.Model.Classes != training.Classes.Count)
            throw new ArgumentException($"The network has {options.Model.Classes} classes, {training.Name} has {training.Classes.Count}.", nameof(options));
        if (validation is null) return;
        if (!validation.Classes.Names.SequenceEqual(training.Classes.Names, StringComparer.Ordinal))
            throw new DatasetException(validation.Name, $"its classes differ from those of {training.Name}; validate on data of the same classes");
        if (!validation.HasLabels) throw new DatasetException(validation.Name, "has no labels to validate with; take another split, or none");
    }
}
