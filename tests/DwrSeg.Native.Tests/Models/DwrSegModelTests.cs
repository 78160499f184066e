using DwrSeg.Native.Autograd;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;
using Xunit;

namespace DwrSeg.Native.Tests.Models;

public sealed class DwrSegModelTests
{
    // The counts of the reference network at 19 classes and 512x1024, which lie within 0.3 % of the paper's Table 1.
    [Theory]
    [InlineData(false, 2_543_667, 13.649)]
    [InlineData(true, 3_538_931, 16.435)]
    public void CountsEqualTheReferenceNetworks(bool large, long parameters, double gigaMultiplies)
    {
        LayerGraph graph = DwrSegModel.Inference(large ? DwrSegConfig.Large() : DwrSegConfig.Base(), 1, 512, 1024);
        Assert.Equal(parameters, graph.Parameters.Sum(p => p.Shape.Elements));
        Assert.Equal(gigaMultiplies, graph.Multiplies / 1e9, 3);
    }

    [Fact]
    public void InferencePassesLeaveNoNormalisationAndNoConcat()
    {
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(DwrSegConfig.Base(), 1, 64, 96));
        Assert.DoesNotContain(graph.Nodes, n => n.Layer is BatchNorm or Concat or Copy);
        Assert.Single(graph.Nodes, n => n.Layer is Conv2d { BorderBias: true });
        Assert.Equal(2, graph.Nodes.Count(n => n.Layer is Conv2d && n.Inputs[0].Tensor.Name == DwrSegModel.Image));
    }

    [Theory]
    [InlineData(45, 67)]
    [InlineData(1, 1)]
    [InlineData(64, 96)]
    public void TrainingGraphUpdatesEveryParameter(int height, int width)
    {
        LayerGraph forward = DwrSegModel.Training(new DwrSegConfig { BaseChannels = 8, Classes = 3, Repeats = [1, 2, 1] }, 2, height, width, new());
        LayerGraph graph = Sgd.Append(Differentiation.Differentiate(forward, forward[DwrSegModel.Loss]), 0.9f, 5e-4f);
        Assert.Equal(forward.Parameters.Count(), graph.Nodes.Count(n => n.Layer is SgdUpdate));
        Assert.DoesNotContain(graph.Nodes, n => n.Layer is Concat);
    }
}
