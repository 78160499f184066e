using DwrSeg.Native.Autograd;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Data;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Training;
using Xunit;

namespace DwrSeg.Native.Tests.Training;

public sealed class InitialWeightsTests : IDisposable
{
    private const ulong Seed = 77;

    private static readonly LayerGraph Graph = TrainingPlan.CreateGraph(SmallTraining.Options);
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(11, false, true)]
    [InlineData(11, true, false)]
    [InlineData(4, false, false)]
    [InlineData(19, false, false)]
    public void TheClassifierIsLoadedWhereTheClassesAreTheSame_AndFreshElsewhere(int classes, bool renamed, bool isLoaded)
    {
        string file = Save(classes, renamed);
        using CpuStore store = new(), fresh = new();
        Assert.Equal(isLoaded, InitialWeights.Load(file, SmallTraining.Model, SceneGenerator.Classes, Graph, store, Seed));
        ModelWeights.Initialize(Graph, fresh, Seed);
        using SafetensorsFile given = SafetensorsFile.Open(file);
        foreach (Tensor tensor in Graph.Stored)
        {
            bool isVelocity = tensor.Name.StartsWith(Sgd.VelocityPrefix, StringComparison.Ordinal);
            bool isClassifier = tensor.Name.StartsWith("decoder.classify.", StringComparison.Ordinal);
            float[] found = new float[tensor.Shape.Elements], expected = new float[found.Length], torch = new float[found.Length];
            store.Read(tensor.Name, found);
            if (isVelocity || (isClassifier && !isLoaded))
            {
                fresh.Read(tensor.Name, expected);
            }
            else
            {
                given.ReadFloats(tensor.Name, torch);
                ModelWeights.FromTorch(tensor, torch, expected);
            }
            Assert.True(found.AsSpan().SequenceEqual(expected), tensor.Name);
        }
    }

    [Fact]
    public void ATrainingStartsFromACheckpointsWeightsWithoutItsVelocities()
    {
        SmallTraining.Run(_folder.File("first"), SmallTraining.Options with { Epochs = 1 });
        string last = new RunFiles(_folder.File("first")).Last;
        using CpuStore store = new();
        Assert.True(InitialWeights.Load(last, SmallTraining.Model, SceneGenerator.Classes, Graph, store, Seed));
        foreach (Tensor tensor in Graph.Stored.Where(t => t.Name.StartsWith(Sgd.VelocityPrefix, StringComparison.Ordinal)))
        {
            float[] velocity = new float[tensor.Shape.Elements];
            store.Read(tensor.Name, velocity);
            Assert.All(velocity, v => Assert.Equal(0, v));
        }
        Assert.True(SmallTraining.Run(_folder.File("second"), SmallTraining.Options with { InitialWeights = last, Epochs = 1 }).IsComplete);
    }

    [Fact]
    public void AnotherNetworksWeights_AreRefused()
    {
        string file = Save(11, renamed: false);
        DwrSegConfig deeper = SmallTraining.Model with { Repeats = [1, 2, 1] };
        using CpuStore store = new();
        WeightsFormatException e = Assert.Throws<WeightsFormatException>(
            () => InitialWeights.Load(file, deeper, SceneGenerator.Classes, Graph, store, Seed));
        Assert.StartsWith(file, e.Message);
        Assert.Contains("another network", e.Message);
    }

    private string Save(int classes, bool renamed)
    {
        string path = _folder.File("weights.safetensors");
        DwrSegConfig config = SmallTraining.Model with { Classes = classes };
        using CpuStore store = new();
        LayerGraph graph = DwrSegModel.Inference(config, 1, 32, 32);
        ModelWeights.Initialize(graph, store, seed: 1);
        ClassList names = classes == 11 && !renamed ? SceneGenerator.Classes : new ClassList([.. Enumerable.Range(0, classes).Select(i => $"class {i}")]);
        SafetensorsWriter writer = new();
        writer.Metadata[ModelMetadata.Key] = new ModelMetadata { Config = config, Classes = names }.ToJson();
        ModelWeights.Save(writer, graph, store, batchesTracked: 9);
        writer.Save(path);
        return path;
    }
}
