using DwrSeg.Native.Graph;
using Xunit;

namespace DwrSeg.Native.Tests.Autograd;

/// <summary>Every layer's gradient rule against central finite differences of the float64 oracle.</summary>
public sealed class GradientRuleTests
{
    private readonly GradientCheck _check = new();

    private GraphBuilder Builder => _check.Builder;

    [Theory]
    [InlineData(1, 1, 5, 4)]
    [InlineData(1, 2, 5, 4)]
    [InlineData(3, 1, 5, 4)]
    [InlineData(3, 2, 5, 4)]
    [InlineData(3, 2, 4, 5)]
    [InlineData(3, 1, 1, 1)]
    [InlineData(3, 2, 1, 1)]
    [InlineData(3, 2, 2, 1)]
    [InlineData(3, 1, 1, 6)]
    public void Convolution(int kernel, int stride, int height, int width)
    {
        Tensor x = _check.Parameter("x", new Shape(2, height, width, 3)), w = _check.Parameter("w", new Shape(4, kernel, kernel, 3));
        _check.Use(Builder.Add("y", new Conv2d(kernel, stride), x, w, _check.Parameter("b", Shape.Vector(4))));
        _check.AssertGradientsMatch();
    }

    [Fact]
    public void ConvolutionWithoutBias()
    {
        Tensor x = _check.Parameter("x", new Shape(1, 4, 5, 2)), w = _check.Parameter("w", new Shape(3, 3, 3, 2));
        _check.Use(Builder.Add("y", new Conv2d(3), x, w));
        _check.AssertGradientsMatch();
    }

    [Theory]
    [InlineData(1, 1, 5, 4)]
    [InlineData(1, 2, 4, 5)]
    [InlineData(3, 2, 5, 7)]
    [InlineData(5, 1, 7, 6)]
    [InlineData(5, 3, 2, 3)]
    [InlineData(3, 1, 1, 1)]
    public void DepthwiseConvolution(int dilation, int multiplier, int height, int width)
    {
        Tensor x = _check.Parameter("x", new Shape(2, height, width, 2)), w = _check.Parameter("w", new Shape(1, 3, 3, 2 * multiplier));
        _check.Use(Builder.Add("y", new DepthwiseConv(dilation), x, w, _check.Parameter("b", Shape.Vector(2 * multiplier))));
        _check.AssertGradientsMatch();
    }

    [Theory]
    [InlineData(2, 3, 4)]
    [InlineData(1, 5, 1)]
    [InlineData(3, 1, 1)]
    public void BatchNormalisation(int images, int height, int width)
    {
        Tensor x = _check.Parameter("x", new Shape(images, height, width, 3));
        _check.Use(Builder.AddAll("y", new BatchNormTraining(), BatchNormInputs(x)).First());
        _check.AssertGradientsMatch();
    }

    // With one value per channel the output is beta whatever x and gamma are: both gradients are zero.
    [Fact]
    public void BatchNormalisationOfASinglePixel()
    {
        Tensor x = _check.Parameter("x", new Shape(1, 1, 1, 3));
        _check.Use(Builder.AddAll("y", new BatchNormTraining(), BatchNormInputs(x)).First());
        _check.AssertGradientsMatch();
    }

    [Fact]
    public void Relu()
    {
        _check.Use(Builder.Add("y", new Relu(), _check.Parameter("x", new Shape(2, 3, 3, 4))));
        _check.AssertGradientsMatch();
    }

    [Fact]
    public void CopyLayer()
    {
        _check.Use(Builder.Add("y", new Copy(), _check.Parameter("x", new Shape(1, 2, 3, 2))));
        _check.AssertGradientsMatch();
    }

    [Fact]
    public void Addition()
    {
        Tensor a = _check.Parameter("a", new Shape(1, 2, 3, 2)), b = _check.Parameter("b", new Shape(1, 2, 3, 2));
        _check.Use(Builder.Add("y", new Add(), a, b));
        _check.AssertGradientsMatch();
    }

    [Theory]
    [InlineData(6, 4)]
    [InlineData(5, 7)]
    [InlineData(1, 1)]
    [InlineData(1, 4)]
    [InlineData(2, 3)]
    public void MaximumPool(int height, int width)
    {
        _check.Use(Builder.Add("y", new MaxPool(), _check.Parameter("x", new Shape(2, height, width, 3))));
        _check.AssertGradientsMatch();
    }

    [Theory]
    [InlineData(3, 4, 6, 8)]
    [InlineData(3, 5, 7, 13)]
    [InlineData(1, 1, 3, 4)]
    [InlineData(7, 6, 3, 4)]
    [InlineData(5, 1, 1, 5)]
    [InlineData(4, 3, 4, 3)]
    public void Resizing(int height, int width, int newHeight, int newWidth)
    {
        _check.Use(Builder.Add("y", new Resize(newHeight, newWidth), _check.Parameter("x", new Shape(2, height, width, 2))));
        _check.AssertGradientsMatch();
    }

    [Theory]
    [InlineData(1f, 1f / 16)]
    [InlineData(0.2f, 0f)]
    [InlineData(0.01f, 0.5f)]
    public void CrossEntropyWithHardExamples(float threshold, float minKept)
    {
        var shape = new Shape(2, 4, 5, 3);
        Tensor logits = Builder.Add("logits", new Conv2d(1), _check.Parameter("x", shape), _check.Parameter("w", new Shape(3, 1, 1, 3)));
        _check.UseScalar(Builder.Add("loss", new OhemCrossEntropy(255, threshold, minKept), logits, _check.Labels("labels", shape)));
        _check.AssertGradientsMatch();
    }

    [Fact]
    public void DisjointSlicesReadSeparately()
    {
        Tensor x = Builder.Add("x", new Copy(), _check.Parameter("p", new Shape(1, 4, 3, 5)));
        _check.Use(Builder.Add("a", new Conv2d(3), x.Slice(0, 2), _check.Parameter("wa", new Shape(2, 3, 3, 2))));
        _check.Use(Builder.Add("b", new DepthwiseConv(2), x.Slice(2, 3), _check.Parameter("wb", new Shape(1, 3, 3, 3))));
        _check.AssertGradientsMatch();
    }

    [Fact]
    public void OverlappingSlices()
    {
        Tensor x = Builder.Add("x", new Copy(), _check.Parameter("p", new Shape(1, 4, 3, 6)));
        _check.Use(Builder.Add("a", new Conv2d(3), x.Slice(0, 4), _check.Parameter("wa", new Shape(2, 3, 3, 4))));
        _check.Use(Builder.Add("b", new Relu(), x.Slice(2, 4)));
        _check.Use(Builder.Add("c", new MaxPool(), x.Slice(1, 2)));
        _check.AssertGradientsMatch();
    }

    [Fact]
    public void OverlappingSlicesOfAParameter()
    {
        Tensor x = _check.Parameter("x", new Shape(1, 4, 3, 6));
        _check.Use(Builder.Add("a", new Resize(3, 5), x.Slice(0, 4)));
        _check.Use(Builder.Add("b", new Relu(), x.Slice(3, 3)));
        _check.AssertGradientsMatch();
    }

    [Fact]
    public void SliceThatNobodyReads()
    {
        Tensor x = Builder.Add("x", new Conv2d(1), _check.Parameter("p", new Shape(1, 3, 4, 3)), _check.Parameter("w", new Shape(6, 1, 1, 3)));
        _check.Use(Builder.Add("a", new Relu(), x.Slice(1, 2)));
        _check.Use(Builder.Add("b", new MaxPool(), x.Slice(4, 1)));
        _check.AssertGradientsMatch();
    }

    [Fact]
    public void SliceOfAParameterThatNobodyReads()
    {
        _check.Use(Builder.Add("a", new Relu(), _check.Parameter("x", new Shape(1, 3, 4, 6)).Slice(2, 3)));
        _check.AssertGradientsMatch();
    }

    [Fact]
    public void TensorReadBySeveralLayers()
    {
        Tensor p = _check.Parameter("p", new Shape(2, 3, 4, 2));
        Tensor x = Builder.Add("x", new DepthwiseConv(), p, _check.Parameter("w", new Shape(1, 3, 3, 4)));
        _check.Use(Builder.Add("a", new Conv2d(3, 2), x, _check.Parameter("wa", new Shape(3, 3, 3, 4))));
        _check.Use(Builder.AddAll("b", new BatchNormTraining(), BatchNormInputs(x)).First());
        _check.Use(Builder.Add("c", new Resize(5, 3), x));
        _check.Use(x);
        _check.AssertGradientsMatch();
    }

    [Fact]
    public void SumOfATensorWithItself()
    {
        Tensor x = Builder.Add("x", new Copy(), _check.Parameter("p", new Shape(1, 2, 3, 2)));
        _check.Use(Builder.Add("y", new Add(), x, x));
        _check.AssertGradientsMatch();
    }

    [Fact]
    public void SumOfASliceWithItsNeighbour()
    {
        Tensor x = Builder.Add("x", new Copy(), _check.Parameter("p", new Shape(1, 2, 3, 4)));
        _check.Use(Builder.Add("y", new Add(), x.Slice(0, 2), x.Slice(2, 2)));
        _check.Use(Builder.Add("z", new Add(), x.Slice(0, 3), x.Slice(1, 3)));
        _check.AssertGradientsMatch();
    }

    [Fact]
    public void ResidualChain()
    {
        var shape = new Shape(2, 3, 3, 4);
        Tensor x = Builder.Add("x", new Copy(), _check.Parameter("p", shape));
        for (int i = 0; i < 3; i++)
        {
            Tensor y = Builder.Add($"conv{i}", new Conv2d(3), x, _check.Parameter($"w{i}", new Shape(4, 3, 3, 4)));
            y = Builder.AddAll($"bn{i}", new BatchNormTraining(), BatchNormInputs(y, $"{i}.")).First();
            x = Builder.Add($"x{i}", new Add(), y, x);
        }
        _check.Use(x);
        _check.AssertGradientsMatch();
    }

    [Fact]
    public void BranchesWritingSlicesOfOneTensor()
    {
        Tensor p = _check.Parameter("p", new Shape(1, 5, 4, 4));
        Tensor joined = Builder.Activation("joined", new Shape(1, 5, 4, 7));
        Builder.AddInto(
            "a", new DepthwiseConv(1), [p.Slice(0, 2), _check.Parameter("wa", new Shape(1, 3, 3, 4))], new NodeOutput(joined.Slice(0, 4), false));
        Builder.AddInto(
            "b", new DepthwiseConv(3), [p.Slice(2, 2), _check.Parameter("wb", new Shape(1, 3, 3, 2))], new NodeOutput(joined.Slice(4, 2), false));
        Builder.AddInto("c", new Relu(), [p.Slice(3, 1)], new NodeOutput(joined.Slice(6, 1), false));
        _check.Use(Builder.AddAll("bn", new BatchNormTraining(), BatchNormInputs(joined)).First());
        _check.AssertGradientsMatch();
    }

    [Fact]
    public void ParameterSharedByTwoLayers()
    {
        Tensor x = _check.Parameter("x", new Shape(1, 4, 4, 2)), w = _check.Parameter("w", new Shape(2, 3, 3, 2));
        Tensor y = Builder.Add("y", new Conv2d(3), x, w);
        _check.Use(Builder.Add("z", new Conv2d(3, 2), y, w));
        _check.AssertGradientsMatch();
    }

    private TensorView[] BatchNormInputs(Tensor x, string prefix = "")
    {
        Shape vector = Shape.Vector(x.Shape.C);
        return
        [
            x, _check.Parameter(prefix + "gamma", vector), _check.Parameter(prefix + "beta", vector),
            _check.PositiveState(prefix + "mean", vector), _check.PositiveState(prefix + "variance", vector),
        ];
    }
}
