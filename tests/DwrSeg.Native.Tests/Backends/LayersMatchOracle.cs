using DwrSeg.Native.Backends;
using DwrSeg.Native.Graph.Passes;
using Xunit;

namespace DwrSeg.Native.Tests.Backends;

/// <summary>
/// A backend against the float64 oracle: each layer in several dozen random sizes, and random networks for inference and training; once with
/// every tensor in guarded memory of its own and no fusion, once as the backend plans it. A backend's tests derive from this.
/// </summary>
public abstract class LayersMatchOracle
{
    private const int SingleLayers = 12;
    private const int Networks = 60;

    private static readonly PlanOptions Guarded = new() { Guarded = true, Fuse = Fusion.None };
    private static readonly PlanOptions GuardedFused = new() { Guarded = true };

    public static TheoryData<string> LayerKinds => [.. RandomLayer.Kinds.Keys];

    [Theory]
    [MemberData(nameof(LayerKinds))]
    public void SingleLayer(string kind)
    {
        using IBackend backend = CreateBackend();
        for (int seed = 0; seed < SingleLayers; seed++)
        {
            BackendComparison.Check(backend, RandomLayer.Create(kind, seed), seed, BackendComparison.SingleLayer, Guarded);
            BackendComparison.Check(backend, RandomLayer.Create(kind, seed + 1000), seed, BackendComparison.SingleLayer);
        }
    }

    [Fact]
    public void InferenceNetworks()
    {
        using IBackend backend = CreateBackend();
        for (int seed = 0; seed < Networks; seed++)
        {
            PlanOptions? options = (seed % 3) switch { 0 => Guarded, 1 => GuardedFused, _ => null };
            BackendComparison.Check(backend, InferencePasses.Apply(RandomNetwork.Inference(seed)), seed, BackendComparison.WholeNetwork, options);
        }
    }

    [Fact]
    public void TrainingNetworks()
    {
        using IBackend backend = CreateBackend();
        for (int seed = 0; seed < Networks; seed++)
        {
            PlanOptions? options = (seed % 3) switch { 0 => Guarded, 1 => GuardedFused, _ => null };
            BackendComparison.Check(backend, RandomNetwork.Training(seed), seed, BackendComparison.WholeNetwork, options);
        }
    }

    private protected abstract IBackend CreateBackend();
}
