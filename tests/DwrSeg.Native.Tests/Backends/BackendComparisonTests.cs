using DwrSeg.Native.Backends;
using DwrSeg.Native.Tests.Oracle;
using Xunit;

namespace DwrSeg.Native.Tests.Backends;

/// <summary>The comparison itself: fp32's rounding passes, more does not.</summary>
public sealed class BackendComparisonTests
{
    private static readonly PlanOptions Guarded = new() { Guarded = true, Fuse = Fusion.None };

    public static TheoryData<string> LayerKinds => [.. RandomLayer.Kinds.Keys];

    // Of the size of fp32's rounding in a sum of some dozen terms.
    [Theory]
    [MemberData(nameof(LayerKinds))]
    public void RoundingPasses(string kind)
    {
        using var backend = new OracleBackend(noise: 3e-7, seed: 99);
        for (int seed = 0; seed < 4; seed++) BackendComparison.Check(backend, RandomLayer.Create(kind, seed), seed, options: Guarded);
    }

    [Fact]
    public void RoundingPassesThroughWholeNetworks()
    {
        using var backend = new OracleBackend(noise: 1e-7, seed: 99);
        for (int seed = 0; seed < 10; seed++)
        {
            BackendComparison.Check(backend, RandomNetwork.Inference(seed), seed, BackendComparison.WholeNetwork, Guarded);
            BackendComparison.Check(backend, RandomNetwork.Training(seed), seed, BackendComparison.WholeNetwork, Guarded);
        }
    }

    // A hundred times what fp32 explains.
    [Theory]
    [MemberData(nameof(LayerKinds))]
    public void LessThanFp32IsFound(string kind)
    {
        using var backend = new OracleBackend(noise: 3e-4, seed: 99);
        Exception failure = Assert.ThrowsAny<Exception>(() => BackendComparison.Check(backend, RandomLayer.Create(kind, 3), 3, options: Guarded));
        Assert.Contains("is off by", failure.Message);
    }
}
