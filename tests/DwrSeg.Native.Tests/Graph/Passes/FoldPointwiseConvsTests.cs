using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using Xunit;

namespace DwrSeg.Native.Tests.Graph.Passes;

public sealed class FoldPointwiseConvsTests
{
    private readonly GraphBuilder _builder = new();

    // The stem: 3 channels to 4 raw ones that the pool reads, and their 1x1 expansion. Both become convolutions of the image.
    [Theory]
    [InlineData(7, 5)]
    [InlineData(1, 1)]
    [InlineData(2, 3)]
    public void ExpansionAfterALinearConvolutionReadsTheImage(int height, int width)
    {
        Tensor image = _builder.Input("image", new Shape(2, height, width, 1)), raw = Conv("raw", image, 12, 3, 2);
        Tensor expanded = _builder.Add("relu", new Relu(), Conv("expand", raw, 16, 1));
        LayerGraph folded = PassCheck.AssertExact(_builder.Build(_builder.Add("pool", new MaxPool(), raw), expanded), FoldPointwiseConvs.Apply);
        Assert.Equal(2, folded.Nodes.Count(n => n.Layer is Conv2d && n.Inputs[0].Tensor.Name == "image"));
    }

    [Fact]
    public void ConvolutionThatNobodyReadsAnyMoreCanBeDropped()
    {
        Tensor x = _builder.Input("x", new Shape(1, 4, 5, 2));
        LayerGraph folded = PassCheck.AssertExact(_builder.Build(Conv("b", Conv("a", x, 20, 3), 4, 1)), g => DropDeadLayers.Apply(FoldPointwiseConvs.Apply(g)));
        Assert.Single(folded.Nodes, n => n.Layer is Conv2d);
    }

    [Fact]
    public void ReluBetweenForbidsIt() => AssertUntouched(
        Conv("b", _builder.Add("relu", new Relu(), Conv("a", _builder.Input("x", new Shape(1, 4, 5, 2)), 20, 3)), 4, 1));

    [Fact]
    public void MoreMultipliesThanBeforeForbidIt() => AssertUntouched(
        Conv("b", Conv("a", _builder.Input("x", new Shape(1, 4, 5, 16)), 2, 3), 32, 1));

    private void AssertUntouched(Tensor output)
    {
        LayerGraph graph = _builder.Build(output);
        Assert.Equal(graph.Nodes.Select(n => n.Layer), PassCheck.AssertExact(graph, FoldPointwiseConvs.Apply).Nodes.Select(n => n.Layer));
    }

    private Tensor Conv(string name, TensorView x, int channels, int kernel, int stride = 1) => _builder.Add(
        name, new Conv2d(kernel, stride), x,
        _builder.Parameter($"{name}.weight", new Shape(channels, kernel, kernel, x.Channels), ParameterLayout.Dense),
        _builder.Parameter($"{name}.bias", Shape.Vector(channels)));
}
