using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using Xunit;

namespace DwrSeg.Native.Tests.Graph.Passes;

public sealed class FoldBatchNormsTests
{
    private readonly GraphBuilder _builder = new();

    // The decoder's case: BN before a zero-padded 3x3 convolution, whose border sees zeros and not the shifted value.
    [Theory]
    [InlineData(1, 1, false)]
    [InlineData(1, 1, true)]
    [InlineData(1, 2, false)]
    [InlineData(1, 7, true)]
    [InlineData(6, 1, false)]
    [InlineData(2, 1, true)]
    [InlineData(2, 2, false)]
    [InlineData(2, 5, true)]
    [InlineData(3, 3, false)]
    [InlineData(5, 7, true)]
    [InlineData(8, 6, false)]
    public void FoldedBatchNormMatchesUnfolded_AtTheBorder(int height, int width, bool hasBias)
    {
        Tensor y = Conv("conv", Norm("norm", _builder.Input("x", new Shape(2, height, width, 5))), 4, 3, hasBias: hasBias);
        LayerGraph folded = PassCheck.AssertExact(_builder.Build(y), FoldBatchNorms.Apply);
        Assert.Single(folded.Nodes, n => n.Layer is Conv2d { BorderBias: true });
        Assert.DoesNotContain(folded.Nodes, n => n.Layer is BatchNorm);
    }

    [Theory]
    [InlineData(1, false)]
    [InlineData(1, true)]
    [InlineData(2, false)]
    public void BeforeAPointwiseConvolutionTheBiasIsOneVector(int stride, bool hasBias)
    {
        Tensor y = Conv("conv", Norm("norm", _builder.Input("x", new Shape(1, 5, 4, 6))), 3, 1, stride, hasBias);
        LayerGraph folded = PassCheck.AssertExact(_builder.Build(y), FoldBatchNorms.Apply);
        Node conv = Assert.Single(folded.Nodes, n => n.Layer is Conv2d);
        Assert.Equal(Shape.Vector(3), conv.Inputs[2].Shape);
        Assert.DoesNotContain(folded.Nodes, n => n.Layer is BatchNorm);
    }

    [Theory]
    [InlineData(3, 1, false)]
    [InlineData(3, 2, true)]
    [InlineData(1, 1, true)]
    public void AfterAConvolution(int kernel, int stride, bool hasBias)
    {
        Tensor y = Norm("norm", Conv("conv", _builder.Input("x", new Shape(2, 5, 4, 3)), 4, kernel, stride, hasBias));
        AssertFolds(y, borderBiases: 0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AfterADepthwiseConvolution(bool hasBias)
    {
        Tensor x = _builder.Input("x", new Shape(1, 5, 7, 3)), w = _builder.Parameter("w", new Shape(1, 3, 3, 6), ParameterLayout.Depthwise);
        TensorView[] bias = hasBias ? [_builder.Parameter("b", Shape.Vector(6))] : [];
        AssertFolds(Norm("norm", _builder.Add("dw", new DepthwiseConv(3), [x, w, .. bias])), borderBiases: 0);
    }

    // A DWR module: dilated branches joined, then BN. Each branch takes its channels of the BN.
    [Fact]
    public void AfterBranchesThatWriteSlices()
    {
        Tensor x = _builder.Input("x", new Shape(1, 6, 5, 4));
        Tensor joined = _builder.Add("join", new Concat(), Depthwise("a", x.Slice(0, 2), 1, 2), Depthwise("b", x.Slice(2, 2), 3, 1), Conv("c", x, 3, 1));
        LayerGraph placed = PassCheck.AssertExact(_builder.Build(Norm("norm", joined)), PlaceBranches.Apply);
        LayerGraph folded = PassCheck.AssertExact(placed, FoldBatchNorms.Apply);
        Assert.DoesNotContain(folded.Nodes, n => n.Layer is BatchNorm);
        Assert.Equal(3, folded.Nodes.Count(n => n.Layer is FoldBatchNorm));
    }

    [Fact]
    public void ConvolutionWhoseRawOutputIsReadElsewhereKeepsIt()
    {
        Tensor raw = Conv("conv", _builder.Input("x", new Shape(1, 4, 4, 3)), 4, 3);
        LayerGraph graph = _builder.Build(_builder.Add("sum", new Add(), Norm("norm", raw), raw));
        Assert.Single(PassCheck.AssertExact(graph, FoldBatchNorms.Apply).Nodes, n => n.Layer is BatchNorm);
    }

    [Fact]
    public void OutputOfTheGraphIsNotFoldedAway()
    {
        Tensor raw = Conv("conv", _builder.Input("x", new Shape(1, 4, 4, 3)), 4, 3), norm = Norm("norm", raw);
        LayerGraph graph = _builder.Build(raw, norm, Conv("next", norm, 2, 1));
        Assert.Single(PassCheck.AssertExact(graph, FoldBatchNorms.Apply).Nodes, n => n.Layer is BatchNorm);
    }

    [Fact]
    public void NormBetweenTwoReluLayersStays()
    {
        Tensor x = _builder.Add("before", new Relu(), _builder.Input("x", new Shape(1, 3, 4, 3)));
        LayerGraph graph = _builder.Build(_builder.Add("after", new Relu(), Norm("norm", x)));
        Assert.Single(PassCheck.AssertExact(graph, FoldBatchNorms.Apply).Nodes, n => n.Layer is BatchNorm);
    }

    [Fact]
    public void NormBeforeAStridedConvolutionStays()
    {
        LayerGraph graph = _builder.Build(Conv("conv", Norm("norm", _builder.Input("x", new Shape(1, 5, 4, 3))), 2, 3, stride: 2));
        Assert.Single(PassCheck.AssertExact(graph, FoldBatchNorms.Apply).Nodes, n => n.Layer is BatchNorm);
    }

    [Fact]
    public void NormWithSeveralConvolutionsBehindItFoldsIntoEach()
    {
        Tensor norm = Norm("norm", _builder.Input("x", new Shape(1, 5, 4, 3)));
        LayerGraph folded = PassCheck.AssertExact(_builder.Build(Conv("a", norm, 2, 3), Conv("b", norm, 4, 1, 2), Conv("c", norm, 3, 3, 1, true)), FoldBatchNorms.Apply);
        Assert.DoesNotContain(folded.Nodes, n => n.Layer is BatchNorm);
        Assert.Equal(2, folded.Nodes.Count(n => n.Layer is Conv2d { BorderBias: true }));
    }

    [Fact]
    public void ChainOfNormsFoldsCompletely()
    {
        Tensor x = Conv("first", _builder.Input("x", new Shape(1, 4, 5, 3)), 4, 3);
        AssertFolds(Norm("c", Conv("second", Norm("b", Norm("a", x)), 3, 1)), borderBiases: 0);
    }

    private void AssertFolds(Tensor output, int borderBiases)
    {
        LayerGraph folded = PassCheck.AssertExact(_builder.Build(output), FoldBatchNorms.Apply);
        Assert.DoesNotContain(folded.Nodes, n => n.Layer is BatchNorm);
        Assert.Equal(borderBiases, folded.Nodes.Count(n => n.Layer is Conv2d { BorderBias: true }));
    }

    private Tensor Conv(string name, TensorView x, int channels, int kernel, int stride = 1, bool hasBias = false)
    {
        Tensor w = _builder.Parameter($"{name}.weight", new Shape(channels, kernel, kernel, x.Channels), ParameterLayout.Dense);
        TensorView[] bias = hasBias ? [_builder.Parameter($"{name}.bias", Shape.Vector(channels))] : [];
        return _builder.Add(name, new Conv2d(kernel, stride), [x, w, .. bias]);
    }

    private Tensor Depthwise(string name, TensorView x, int dilation, int multiplier) => _builder.Add(
        name, new DepthwiseConv(dilation), x, _builder.Parameter($"{name}.weight", new Shape(1, 3, 3, x.Channels * multiplier), ParameterLayout.Depthwise));

    private Tensor Norm(string name, Tensor x)
    {
        Shape vector = Shape.Vector(x.Shape.C);
        return _builder.Add(
            name, new BatchNorm(), x, _builder.Parameter($"{name}.weight", vector), _builder.Parameter($"{name}.bias", vector),
            _builder.State($"{name}.mean", vector), _builder.State($"{name}.variance", vector));
    }
}
