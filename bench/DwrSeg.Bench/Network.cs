using DwrSeg.Native.Autograd;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;

namespace DwrSeg.Bench;

/// <summary>A network compiled for the CPU, with fresh weights and random input.</summary>
internal sealed class Network : IDisposable
{
    private readonly CpuBackend _backend = new();
    private readonly CpuStore _store = new();

    public Network(LayerGraph graph)
    {
        ModelWeights.Initialize(graph, _store, seed: 1);
        Plan = (CpuPlan)_backend.Compile(graph, _store);
        var random = new Random(1);
        foreach (Tensor input in graph.Inputs)
        {
            if (input.Type == ElementType.UInt8) Plan.Write(input, RandomLabels(random, input.Shape.Elements));
            // A learning rate of zero: thousands of runs on the same batch must leave the values in their usual range.
            else Plan.Write(input, input.Name == Sgd.LearningRate ? [0] : RandomImage(random, input.Shape.Elements));
        }
    }

    public CpuPlan Plan { get; }

    /// <summary>The network as it is run to segment.</summary>
    public static LayerGraph Inference(DwrSegConfig config, int height, int width) =>
        InferencePasses.Apply(DwrSegModel.Inference(config, 1, height, width));

    /// <summary>A whole training step.</summary>
    public static LayerGraph Training(DwrSegConfig config, int batch, int height, int width)
    {
        LayerGraph forward = DwrSegModel.Training(config, batch, height, width, new OhemCrossEntropy());
        return Sgd.Append(Differentiation.Differentiate(forward, forward[DwrSegModel.Loss]), 0.9f, 5e-4f);
    }

    public void Dispose()
    {
        Plan.Dispose();
        _store.Dispose();
        _backend.Dispose();
    }

    private static byte[] RandomLabels(Random random, long count)
    {
        byte[] labels = new byte[count];
        for (int i = 0; i < labels.Length; i++) labels[i] = (byte)random.Next(19);
        return labels;
    }

    // Normalised images lie between about −2 and 2.
    private static float[] RandomImage(Random random, long count)
    {
        float[] values = new float[count];
        for (int i = 0; i < values.Length; i++) values[i] = 4 * random.NextSingle() - 2;
        return values;
    }
}
