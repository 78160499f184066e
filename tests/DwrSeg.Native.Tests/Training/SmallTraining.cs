using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Data;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Training;
using Xunit;

namespace DwrSeg.Native.Tests.Training;

/// <summary>A training that takes well under a second: 4 epochs of 3 steps, and a sample left over each time.</summary>
internal static class SmallTraining
{
    public const int StepsPerEpoch = 3, Steps = 12;

    public static DwrSegConfig Model { get; } = new() { BaseChannels = 8, Classes = SceneGenerator.Classes.Count, Repeats = [1, 1, 1] };

    public static TrainingOptions Options { get; } = new()
    {
        Model = Model,
        Augmentation = new AugmentationOptions { CropWidth = 48, CropHeight = 32 },
        BatchSize = 2,
        Epochs = 4,
        Seed = 5,
        MetricsInterval = 2,
        Device = "cpu",
        Threads = 2,
    };

    public static SegmentationDataset Training { get; } = new GeneratedDataset(1, 7, 64, 48);

    public static SegmentationDataset Validation { get; } = new GeneratedDataset(2, 2, 64, 48);

    /// <summary>Scenes as files, and a weights file that names the small network, for the tool.</summary>
    public static (string Data, string Model) WriteFiles(TemporaryFolder folder, int training, int validation)
    {
        string data = folder.File("scenes"), model = folder.File("small.safetensors");
        CancellationToken cancellation = TestContext.Current.CancellationToken;
        SceneGenerator.WriteDataset(data, "train", training, 1, 64, 48, cancellation: cancellation);
        SceneGenerator.WriteDataset(data, "val", validation, 1, 64, 48, cancellation: cancellation);
        using CpuStore store = new();
        LayerGraph graph = DwrSegModel.Inference(Model, 1, 32, 32);
        ModelWeights.Initialize(graph, store, seed: 1);
        SafetensorsWriter writer = new();
        writer.Metadata[ModelMetadata.Key] = new ModelMetadata { Config = Model }.ToJson();
        ModelWeights.Save(writer, graph, store, batchesTracked: 0);
        writer.Save(model);
        return (data, model);
    }

    public static TrainingResult Run(
        string folder, TrainingOptions? options = null, ExistingRun existing = ExistingRun.Refuse, ITrainingObserver? observer = null,
        SegmentationDataset? training = null, CancellationToken cancellation = default) =>
        Trainer.Run(options ?? Options, training ?? Training, Validation, folder, existing, observer, cancellation);
}
