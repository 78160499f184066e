using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Data;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Formats;
using Xunit;

namespace DwrSeg.Native.Tests.Training;

/// <summary>The tool's <c>train</c> on the emulated CUDA device.</summary>
public sealed class EmulatedTrainingTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void TrainsAsTheProcessorDoes_AndGivesTheSameBitsEachTime_ResumedToo()
    {
        RunFiles onCpu = Train("cpu", "cpu"), first = Train("emulated", "first");
        double[] expected = Losses(onCpu), found = Losses(first);
        Assert.Equal(expected.Length, found.Length);
        // Roundings differ from the first step on, and each step starts from what the one before made of them.
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], found[i], 2e-3 * expected[i]);

        using DwrSegProcess interrupted = DwrSegProcess.Start(Arguments("emulated", "second"));
        Assert.True(interrupted.WaitFor("  step "), interrupted.Error);
        interrupted.Signal(DwrSegProcess.Interrupt);
        int code = interrupted.WaitForExit();
        Assert.True(code is 130 or 0, interrupted.Error);
        Train("emulated", "second", "--resume").AssertSame(first, "interrupted and resumed");
    }

    private RunFiles Train(string device, string run, params string[] more)
    {
        DwrSegProcess.Run(Arguments(device, run, more));
        return new RunFiles(_folder.File(run));
    }

    private string[] Arguments(string device, string run, params string[] more)
    {
        string data = _folder.File("scenes"), model = _folder.File("small.safetensors");
        if (!File.Exists(model))
        {
            SceneGenerator.WriteDataset(data, "train", 4, 1, 64, 48, cancellation: TestContext.Current.CancellationToken);
            SceneGenerator.WriteDataset(data, "val", 1, 1, 64, 48, cancellation: TestContext.Current.CancellationToken);
            using CpuStore store = new();
            LayerGraph graph = DwrSegModel.Inference(SmallTraining.Model, 1, 32, 32);
            ModelWeights.Initialize(graph, store, seed: 1);
            SafetensorsWriter writer = new();
            writer.Metadata[ModelMetadata.Key] = new ModelMetadata { Config = SmallTraining.Model }.ToJson();
            ModelWeights.Save(writer, graph, store, batchesTracked: 0);
            writer.Save(model);
        }
        return
        [
            "train", "--data", data, "--out", _folder.File(run), "--model", model, "--crop", "32x48", "--batch", "2", "--epochs", "3", "--threads", "2",
            "--seed", "3", "--metrics-every", "1", "--device", device, .. more,
        ];
    }

    private static double[] Losses(RunFiles run) => [.. run.Lines("step").Select(line => (double)line["loss"]!)];
}
