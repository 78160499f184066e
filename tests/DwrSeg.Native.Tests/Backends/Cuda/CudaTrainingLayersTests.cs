using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Tests.Cuda;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cuda;

/// <summary>The layers of a training step on the CUDA backend, against the float64 oracle.</summary>
[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class CudaTrainingLayersTests
{
    private const int SingleLayers = 12;

    private static readonly PlanOptions Guarded = new() { Guarded = true, Fuse = Fusion.None };

    // "batch norm training" is followed by its gradient.
    public static TheoryData<string> LayerKinds =>
        ["bias gradient", "batch norm training", "depth-wise weight gradient", "depth-wise data gradient"];

    // The usual device, and one whose launches overlap.
    public static IEnumerable<TheoryDataRow<string, int>> LayerKindsAndArchitectures =>
        from row in LayerKinds from architecture in TestDriver.Architectures(80, 90) select new TheoryDataRow<string, int>(row.Data, architecture);

    [Theory]
    [MemberData(nameof(LayerKindsAndArchitectures))]
    public void SingleLayer(string kind, int architecture)
    {
        using CudaBackend backend = TestDriver.OpenBackend(architecture, CudaElement.Float32);
        for (int seed = 0; seed < SingleLayers; seed++)
        {
            BackendComparison.Check(backend, RandomLayer.Create(kind, seed), seed, BackendComparison.SingleLayer, Guarded);
            BackendComparison.Check(backend, RandomLayer.Create(kind, seed + 1000), seed, BackendComparison.SingleLayer);
        }
    }

    [Theory]
    [MemberData(nameof(LayerKinds))]
    public void SixteenBitsAreRefused(string kind)
    {
        using CudaBackend backend = TestDriver.OpenBackend(TestDriver.IsReal ? 0 : 80, CudaElement.Float16);
        using ITensorStore store = backend.CreateStore();
        LayerGraph graph = RandomLayer.Create(kind, 1);
        var error = Assert.Throws<NotSupportedException>(() => backend.Compile(graph, store));
        Assert.Contains("training computes in fp32", error.Message, StringComparison.Ordinal);
    }
}
