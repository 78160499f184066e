using System.Globalization;
using System.Text.Json;
using DwrSeg.Native.Autograd;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;

namespace DwrSeg.Native.Training;

/// <summary>
/// A training's whole state as a weights file with the velocities beside the weights and the rest in its metadata. A run that goes on
/// from it does what the interrupted one would have done, bit for bit.
/// </summary>
internal static class TrainingCheckpoint
{
    private const string OptionPrefix = "option ";
    private const string Data = "data", Samples = "samples", Arithmetic = "arithmetic", InitialWeights = "init";

    /// <summary>Writes the state; the file appears whole or not at all.</summary>
    /// <param name="path">The file.</param>
    /// <param name="graph">The training graph.</param>
    /// <param name="store">Its tensors.</param>
    /// <param name="metadata">What a model file says.</param>
    /// <param name="options">Kept so that <see cref="Load"/> can tell whether a resumed run would be another one.</param>
    /// <param name="origin">What the run computes from.</param>
    /// <param name="state">Where the training stands.</param>
    public static void Save(
        string path, LayerGraph graph, ITensorStore store, ModelMetadata metadata, TrainingOptions options, TrainingOrigin origin, TrainingState state)
    {
        var writer = new SafetensorsWriter();
        writer.Metadata[ModelMetadata.Key] = metadata.ToJson();
        ModelWeights.Save(writer, graph, store, state.Updates);
        foreach (Tensor tensor in graph.Stored.Where(IsVelocity))
        {
            float[] own = new float[tensor.Shape.Elements], torch = new float[own.Length];
            store.Read(tensor.Name, own);
            ModelWeights.ToTorch(tensor, own, torch);
            writer.Add(tensor.Name, SafetensorsDType.F32, ModelWeights.TorchShape(tensor).AsSpan(), torch);
        }
        Checkpoint.SetTraining(writer, json => WriteFields(json, options, origin, state));
        writer.Save(path);
    }

    /// <summary>Loads the state into the store. The file is not trusted: a number that no run could have reached is refused.</summary>
    /// <exception cref="WeightsFormatException">The file is no sound checkpoint of this network.</exception>
    /// <exception cref="TrainingException">It was written by a run with other options, or that computed from something else.</exception>
    public static TrainingState Load(
        SafetensorsFile file, LayerGraph graph, ITensorStore store, ModelMetadata metadata, TrainingOptions options, TrainingOrigin origin,
        int stepsPerEpoch)
    {
        string path = file.Name;
        JsonFields fields = Checkpoint.Training(file);
        ModelMetadata found = ModelMetadata.Read(file);
        if (found.Config != metadata.Config)
            throw new TrainingException($"{path} is a run of another network; resume with the model that it was started with.");
        RequireSame(path, "the data", fields.Text(Data), origin.Data);
        RequireSame(path, "the classes", Names(found.Classes), Names(metadata.Classes));
        foreach ((string name, Func<TrainingOptions, object?> value) in TrainingOptions.Decisive)
            RequireSame(path, name, fields.Text(OptionPrefix + name), Text(value(options)));
        RequireSameOrigin(path, fields, origin);
        ModelWeights.Load(file, graph, store, isForeign: name => name.StartsWith(Sgd.VelocityPrefix, StringComparison.Ordinal));
        foreach (Tensor tensor in graph.Stored.Where(IsVelocity)) ModelWeights.LoadOne(file, tensor.Name, tensor, store);
        return ReadState(fields, options, stepsPerEpoch);
    }

    private static void WriteFields(Utf8JsonWriter json, TrainingOptions options, TrainingOrigin origin, TrainingState state)
    {
        json.WriteNumber("iteration", state.Iteration);
        json.WriteNumber("updates", state.Updates);
        json.WriteNumber("validated_epoch", state.ValidatedEpoch);
        json.WriteNumber("best_miou", state.BestMeanIou);
        json.WriteNumber("best_epoch", state.BestEpoch);
        json.WriteNumber("recent_loss", state.Recent.Sum);
        json.WriteNumber("recent_steps", state.Recent.Count);
        json.WriteNumber("epoch_loss", state.Epoch.Sum);
        json.WriteNumber("epoch_steps", state.Epoch.Count);
        json.WriteString(Data, origin.Data);
        json.WriteString(Samples, origin.Samples);
        json.WriteString(Arithmetic, origin.Arithmetic);
        if (state.InitialWeights is { } first) json.WriteString(InitialWeights, first);
        foreach ((string name, Func<TrainingOptions, object?> value) in TrainingOptions.Decisive)
            json.WriteString(OptionPrefix + name, Text(value(options)));
    }

    // Each number bounds the next, so that no state comes out that no run could have reached.
    private static TrainingState ReadState(JsonFields fields, TrainingOptions options, int stepsPerEpoch)
    {
        long iteration = fields.Integer("iteration", 0, (long)options.Epochs * stepsPerEpoch);
        int validated = (int)fields.Integer("validated_epoch", 0, iteration / stepsPerEpoch);
        return new TrainingState
        {
            Iteration = iteration,
            Updates = fields.Integer("updates", 0, iteration),
            ValidatedEpoch = validated,
            BestMeanIou = Math.Clamp(fields.Number("best_miou"), -1, 1),
            BestEpoch = (int)fields.Integer("best_epoch", 0, validated),
            Recent = new LossSum(fields.Number("recent_loss"), fields.Integer("recent_steps", 0, options.MetricsInterval - 1)),
            Epoch = new LossSum(fields.Number("epoch_loss"), fields.Integer("epoch_steps", 0, stepsPerEpoch - 1)),
            InitialWeights = fields.OptionalText(InitialWeights),
        };
    }

    // Older checkpoints tell nothing of these.
    private static void RequireSameOrigin(string path, JsonFields fields, TrainingOrigin origin)
    {
        if (fields.OptionalText(Samples) is { } samples && samples != origin.Samples)
        {
            throw new TrainingException($"{path} belongs to a run on other data: {origin.Data} has the same name and count, but names or file " +
                "sizes of its samples differ. Resume with the data that the run was started with, or start a new run.");
        }
        if (fields.OptionalText(Arithmetic) is { } arithmetic && arithmetic != origin.Arithmetic)
        {
            throw new TrainingException($"{path} belongs to a run on {ErrorText.Quote(arithmetic)}; here it would go on with " +
                $"{ErrorText.Quote(origin.Arithmetic)}, and its results would be others. Resume on a machine like the first, or start a new " +
                $"run from its weights (--init {path}).");
        }
        // Needed at the start alone, so a resumed run need not name it; but if it does, it means that one.
        if (origin.InitialWeights is { } now && fields.OptionalText(InitialWeights) is { } then && then != now)
        {
            throw new TrainingException(then == TrainingState.NoFile
                ? $"{path} belongs to a run that was started without initial weights. Resume it without --init, or start a new run."
                : $"{path} belongs to a run that was started from other initial weights. Resume it without --init, or start a new run.");
        }
    }

    private static void RequireSame(string path, string what, string before, string now)
    {
        if (before == now) return;
        throw new TrainingException($"{path} belongs to a run with another value of {what}: {ErrorText.Quote(before)} then, " +
            $"{ErrorText.Quote(now)} now. A resumed run must go on as it began: give the first value again, or start a new run.");
    }

    private static string Names(ClassList? classes) => classes is null ? "" : string.Join(", ", classes.Names);

    private static bool IsVelocity(Tensor tensor) => tensor.Name.StartsWith(Sgd.VelocityPrefix, StringComparison.Ordinal);

    private static string Text(object? value) => Convert.ToString(value, CultureInfo.InvariantCulture) ?? "";
}
