using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Tests.Cuda;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cuda;

/// <summary>
/// The layers of a training step besides convolutions and batch norms, in fp32 and checked as <see cref="LayersMatchOracle.SingleLayer"/> does.
/// </summary>
[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class CudaLossLayersTests
{
    private const int SingleLayers = 12;

    public static TheoryData<string> Kinds => ["fill", "relu gradient", "max-pool gradient", "resize gradient", "loss", "sgd"];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void SingleLayer(string kind)
    {
        using IBackend backend = TestDriver.OpenBackend(80, CudaElement.Float32);
        var guarded = new PlanOptions { Guarded = true, Fuse = Fusion.None };
        for (int seed = 0; seed < SingleLayers; seed++)
        {
            BackendComparison.Check(backend, RandomLayer.Create(kind, seed), seed, BackendComparison.SingleLayer, guarded);
            BackendComparison.Check(backend, RandomLayer.Create(kind, seed + 1000), seed, BackendComparison.SingleLayer);
        }
    }

    // The oldest, and one where launches overlap.
    [Theory]
    [InlineData(61)]
    [InlineData(90)]
    public void OtherArchitectures(int architecture)
    {
        using IBackend backend = TestDriver.OpenBackend(architecture, CudaElement.Float32);
        foreach (var kind in Kinds)
        {
            for (int seed = 0; seed < 3; seed++)
                BackendComparison.Check(backend, RandomLayer.Create(kind.Data, seed), seed, BackendComparison.SingleLayer);
        }
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

    [Theory]
    [MemberData(nameof(Kinds))]
    public void SixteenBitMapsAreRefused(string kind)
    {
        using IBackend backend = TestDriver.OpenBackend(80, CudaElement.Float16);
        LayerGraph graph = RandomLayer.Create(kind, 1);
        using ITensorStore store = backend.CreateStore();
        NotSupportedException error = Assert.Throws<NotSupportedException>(() => backend.Compile(graph, store));
        Assert.Contains("training computes in fp32", error.Message, StringComparison.Ordinal);
        Assert.Contains(graph.Nodes, n => error.Message.Contains($"{n.Layer.GetType().Name} ('{n.Name}')", StringComparison.Ordinal));
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
