using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Backends;
using DwrSeg.Native.Tests.Models;
using Xunit;

namespace DwrSeg.Native.Tests.Graph.Passes;

public sealed class InferencePassesTests
{
    public static TheoryData<string> Configurations => [.. NetworkFixture.Configurations.Keys];

    [Theory]
    [MemberData(nameof(Configurations))]
    public void NetworkStaysTheSame(string configuration)
    {
        LayerGraph graph = DwrSegModel.Inference(NetworkFixture.Configurations[configuration], 1, 37, 51, fullSize: true);
        LayerGraph optimised = PassCheck.AssertExact(graph, InferencePasses.Apply);
        Assert.DoesNotContain(optimised.Nodes, n => n.Layer is BatchNorm or Concat);
    }

    // Down to maps of one pixel, row or column in every stage.
    [Theory]
    [InlineData(1, 1)]
    [InlineData(1, 40)]
    [InlineData(33, 2)]
    [InlineData(16, 16)]
    [InlineData(9, 17)]
    [InlineData(64, 32)]
    public void NetworkStaysTheSame_AtAnySize(int height, int width) => PassCheck.AssertExact(
        DwrSegModel.Inference(NetworkFixture.Configurations["default"], 2, height, width, fullSize: true), InferencePasses.Apply);

    [Fact]
    public void RandomNetworksStayTheSame()
    {
        for (int seed = 0; seed < 200; seed++) PassCheck.AssertExact(RandomNetwork.Inference(seed), InferencePasses.Apply, seed);
    }

    [Fact]
    public void EachPassKeepsRandomNetworksTheSame()
    {
        for (int seed = 200; seed < 260; seed++)
        {
            LayerGraph graph = PassCheck.AssertExact(RandomNetwork.Inference(seed), PlaceBranches.Apply, seed);
            PassCheck.AssertExact(graph, FoldPointwiseConvs.Apply, seed);
            graph = PassCheck.AssertExact(graph, FoldBatchNorms.Apply, seed);
            graph = PassCheck.AssertExact(graph, FoldPointwiseConvs.Apply, seed);
            PassCheck.AssertExact(graph, DropDeadLayers.Apply, seed);
        }
    }
}
