using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Tests.Cuda;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cuda;

/// <summary>
/// The layers that a training step has besides an inference's, on the CUDA backend in fp32, checked as <see cref="LayersMatchOracle.SingleLayer"/> does.
/// </summary>
[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class CudaTrainingLayersTests
{
    private const int MostLayers = 12, FewLayers = 4;

    // "batch norm training" is followed by its gradient.
    public static TheoryData<string> Kinds =>
    [
        "conv data gradient", "conv weight gradient", "bias gradient", "batch norm training", "depth-wise weight gradient", "depth-wise data gradient",
        "fill", "relu gradient", "max-pool gradient", "resize gradient", "loss", "sgd",
    ];

    // The usual device, the oldest, and one whose launches overlap.
    public static IEnumerable<TheoryDataRow<string, int>> KindsAndArchitectures =>
        from row in Kinds from architecture in TestDriver.Architectures(80, 61, 90) select new TheoryDataRow<string, int>(row.Data, architecture);

    [Theory]
    [MemberData(nameof(KindsAndArchitectures))]
    public void SingleLayer(string kind, int architecture)
    {
        using IBackend backend = TestDriver.OpenBackend(architecture, CudaElement.Float32);
        var guarded = new PlanOptions { Guarded = true, Fuse = Fusion.None };
        int layers = architecture == 80 || TestDriver.IsReal ? MostLayers : FewLayers;
        for (int seed = 0; seed < layers; seed++)
        {
            BackendComparison.Check(backend, RandomLayer.Create(kind, seed), seed, BackendComparison.SingleLayer, guarded);
            BackendComparison.Check(backend, RandomLayer.Create(kind, seed + 1000), seed, BackendComparison.SingleLayer);
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void SixteenBitsAreRefused(string kind)
    {
        using IBackend backend = TestDriver.OpenBackend(TestDriver.IsReal ? 0 : 80, CudaElement.Float16);
        using ITensorStore store = backend.CreateStore();
        LayerGraph graph = RandomLayer.Create(kind, 1);
        NotSupportedException error = Assert.Throws<NotSupportedException>(() => backend.Compile(graph, store));
        Assert.Contains("training computes in fp32", error.Message, StringComparison.Ordinal);
        Assert.Contains(graph.Nodes, n => error.Message.Contains($"{n.Layer.GetType().Name} ('{n.Name}')", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(true, 1)]
    [InlineData(false, 3)]
    public void UpdatesAreOneLaunch(bool joins, int launches)
    {
        Fusion fuse = joins ? Fusion.All : Fusion.None;
        using IBackend backend = TestDriver.OpenBackend(80, CudaElement.Float32);
        LayerGraph graph = Updates();
        BackendComparison.Check(backend, graph, 1, BackendComparison.SingleLayer, new PlanOptions { Fuse = fuse });
        using ITensorStore store = backend.CreateStore();
        using var plan = (CudaPlan)backend.Compile(graph, store, new PlanOptions { Fuse = fuse });
        Assert.Equal(launches, plan.Covers.Count);
        Assert.All(plan.Covers, c => Assert.Equal(("sgd", 1), (c.Name, c.Launches.Count)));
    }

    // Of sizes that share no vector, with a rate that all read.
    private static LayerGraph Updates()
    {
        var builder = new GraphBuilder();
        Tensor rate = builder.Input("rate", Shape.Scalar, ElementType.Float32);
        var outputs = new List<Tensor>();
        foreach (int size in new[] { 7, 5000, 64 })
        {
            Tensor parameter = builder.Parameter($"p{size}", Shape.Vector(size)), velocity = builder.State($"v{size}", Shape.Vector(size));
            Tensor gradient = builder.Input($"g{size}", Shape.Vector(size), ElementType.Float32);
            Tensor[] updated = [builder.Updated(parameter), builder.Updated(velocity)];
            builder.AddInto(
                $"sgd{size}", new SgdUpdate(0.9f, 5e-4f), [parameter, gradient, velocity, rate], new NodeOutput(updated[0], false),
                new NodeOutput(updated[1], false));
            outputs.AddRange(updated);
        }
        return builder.Build([.. outputs]);
    }
}
