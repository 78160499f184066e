using System.Buffers.Binary;
using System.Text;
using DwrSeg.Native.Autograd;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Data;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Formats.Fuzzing;
using DwrSeg.Native.Training;
using Xunit;

namespace DwrSeg.Native.Tests.Training;

public sealed class TrainingCheckpointFuzzTests
{
    private const int StepsPerEpoch = 3;

    // The narrowest network: its header is most of the file, and loading it takes less than a millisecond.
    private static readonly TrainingOptions Options = SmallTraining.Options with
    {
        Model = new() { BaseChannels = 2, Classes = 11, Repeats = [1, 1, 1], RrExpansion = 3 },
    };

    private static readonly ModelMetadata Metadata = new() { Config = Options.Model, Classes = SceneGenerator.Classes };

    private static readonly TrainingOrigin Origin = new("scenes", "samples", "arithmetic", null);

    [Fact]
    public void LoadingAStateWithstandsMutatedFiles()
    {
        LayerGraph graph = TrainingPlan.CreateGraph(Options);
        byte[] sound = Sound(graph);
        int length = BinaryPrimitives.ReadInt32LittleEndian(sound);
        new Fuzzer(
            random =>
            {
                Mutator mutator = new(random);
                byte[] header = sound[8..(8 + length)], data = sound[(8 + length)..];
                // Most mutations hit the fields and the first tensors, the few that a whole header hides among hundreds of others.
                switch (random.Next(4))
                {
                    case 0:
                        return mutator.Mutate(sound, sound);
                    case 1:
                        return RawSafetensors.Build(mutator.MutateText(header, header), data);
                    default:
                        int end = Encoding.UTF8.GetString(header).IndexOf("\"dtype\"", StringComparison.Ordinal);
                        return RawSafetensors.Build([.. mutator.MutateText(header[..end], header[..end]), .. header[end..]], data);
                }
            },
            input =>
            {
                using SafetensorsFile file = SafetensorsFile.Open(input, "last.safetensors");
                using CpuStore store = new();
                TrainingState state = TrainingCheckpoint.Load(file, graph, store, Metadata, Options, Origin, StepsPerEpoch);
                Assert.InRange(state.Iteration, 0, Options.Epochs * StepsPerEpoch);
                Assert.InRange(state.ValidatedEpoch, 0, state.Iteration / StepsPerEpoch);
                Assert.InRange(state.BestEpoch, 0, state.ValidatedEpoch);
                Assert.InRange(state.Updates, 0, state.Iteration);
            },
            e => e is WeightsFormatException or TrainingException, 64).Run([sound]);
    }

    private static byte[] Sound(LayerGraph graph)
    {
        using TemporaryFolder folder = new();
        using CpuStore store = new();
        ModelWeights.Initialize(graph, store, seed: 1);
        TrainingState state = new() { Iteration = 7, Updates = 6, ValidatedEpoch = 2, BestEpoch = 1, BestMeanIou = 0.25, Epoch = new LossSum(1.5, 1) };
        TrainingCheckpoint.Save(folder.File("last"), graph, store, Metadata, Options, Origin, state);
        Assert.Contains(graph.Stored, tensor => tensor.Name.StartsWith(Sgd.VelocityPrefix, StringComparison.Ordinal));
        return File.ReadAllBytes(folder.File("last"));
    }
}
