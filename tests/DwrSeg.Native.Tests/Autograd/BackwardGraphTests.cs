using DwrSeg.Native.Autograd;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Tests.Oracle;
using Xunit;

namespace DwrSeg.Native.Tests.Autograd;

/// <summary>Which layers a backward pass consists of: nothing copied, computed or added up that need not be.</summary>
public sealed class BackwardGraphTests
{
    private readonly GraphBuilder _builder = new();
    private readonly List<Tensor> _sums = [];

    [Fact]
    public void DisjointSlicesAreWrittenNotAccumulated()
    {
        Tensor x = Weighted("x", Image(4), 4);
        Use(_builder.Add("a", new Relu(), x.Slice(0, 2)));
        Use(_builder.Add("b", new Relu(), x.Slice(2, 2)));
        LayerGraph graph = Differentiate().Graph;
        Assert.All(WritersOf(graph, "x/gradient"), o => Assert.False(o.Accumulate));
        Assert.Equal([(2, 2), (0, 2)], WritersOf(graph, "x/gradient").Select(o => (o.View.Channel, o.View.Channels)));
    }

    [Fact]
    public void OverlappingSlicesAccumulate_AndOnlyTheMissingPartIsZeroed()
    {
        Tensor x = Weighted("x", Image(6), 6);
        Use(_builder.Add("a", new Relu(), x.Slice(0, 4)));
        Use(_builder.Add("b", new Relu(), x.Slice(2, 4)));
        LayerGraph graph = Differentiate().Graph;
        Assert.Equal([(2, 4, false), (0, 2, false), (0, 4, true)],
            WritersOf(graph, "x/gradient").Select(o => (o.View.Channel, o.View.Channels, o.Accumulate)));
        Assert.Equal(new Fill(new Shape(1, 3, 5, 2), 0), Assert.Single(graph.Nodes, n => n.Layer is Fill { Value: 0 }).Layer);
    }

    [Fact]
    public void SliceThatNobodyReadsIsZeroed()
    {
        Tensor x = Weighted("x", Image(5), 5);
        Use(_builder.Add("a", new Relu(), x.Slice(1, 2)));
        Assert.Equal([(1, 2, false), (0, 1, false), (3, 2, false)],
            WritersOf(Differentiate().Graph, "x/gradient").Select(o => (o.View.Channel, o.View.Channels, o.Accumulate)));
    }

    [Fact]
    public void GradientPassesThroughASumWithoutACopy()
    {
        Tensor a = Weighted("a", Image(3), 4), b = Weighted("b", Image(3, "other"), 4);
        Use(_builder.Add("y", new Add(), a, b));
        LayerGraph graph = Differentiate().Graph;
        Assert.DoesNotContain(graph.Nodes, n => n.Layer is Copy);
        Assert.Equal(2, graph.Nodes.Count(n => n.Layer is Conv2dWeightGradient && n.Inputs[1] == graph["y/gradient"]));
    }

    [Fact]
    public void GradientThatPassesToASecondReaderIsCopiedOnceThenAccumulated()
    {
        Tensor x = Weighted("x", Image(3), 4);
        Use(_builder.Add("y", new Add(), Weighted("f", x, 4), x));
        LayerGraph graph = Differentiate().Graph;
        Assert.Single(graph.Nodes, n => n.Layer is Copy);
        Assert.Equal([(typeof(Copy), false), (typeof(Conv2dDataGradient), true)], graph.Nodes
            .Where(n => n.Output.Tensor.Name == "x/gradient").Select(n => (n.Layer.GetType(), n.Outputs[0].Accumulate)));
    }

    [Fact]
    public void GradientOfWhatNoParameterStandsBehindIsNotComputed()
    {
        Tensor pooled = _builder.Add("pooled", new MaxPool(), _builder.Add("relu", new Relu(), Image(3)));
        Use(_builder.Add("sum", new Add(), Weighted("x", pooled, 3), pooled));
        LayerGraph graph = Differentiate().Graph;
        Assert.DoesNotContain(graph.Nodes, n => n.Layer is Conv2dDataGradient or MaxPoolGradient or ReluGradient or Copy);
        Assert.DoesNotContain(graph.Tensors, t => t.Name is "pooled/gradient" or "image/gradient");
    }

    [Fact]
    public void ParameterThatTheLossIgnoresHasNoGradient()
    {
        Use(Weighted("x", Image(3), 3));
        Weighted("unused", _builder.Add("relu", new Relu(), Weighted("y", Image(3, "other"), 3)), 2);
        DifferentiatedGraph differentiated = Differentiate();
        Assert.Equal(["x.weight"], differentiated.Gradients.Keys.Select(p => p.Name));
    }

    [Fact]
    public void GradientsAreOutputs_AndSgdKeepsThemOnlyWhereAsked()
    {
        Use(Weighted("x", Image(3), 3));
        DifferentiatedGraph differentiated = Differentiate();
        Tensor gradient = Assert.Single(differentiated.Gradients).Value;
        Assert.Contains(gradient, differentiated.Graph.Outputs);
        Assert.Contains(gradient, Sgd.Append(differentiated, 0.9f, 0, keepGradients: true).Outputs);
        LayerGraph training = Sgd.Append(differentiated, 0.9f, 0);
        Assert.DoesNotContain(gradient, training.Outputs);
        Assert.Equal(["velocity.x.weight", "x.weight"], training.Stored.Select(t => t.Name).Order());
    }

    [Fact]
    public void LossMustBeAScalar()
    {
        Tensor x = Weighted("x", Image(3), 3);
        LayerGraph graph = _builder.Build(x);
        Assert.Contains("scalar", Assert.Throws<ArgumentException>(() => Differentiation.Differentiate(graph, x)).Message);
    }

    [Fact]
    public void LayerWithoutAGradientIsNamed()
    {
        Shape vector = Shape.Vector(3);
        Use(_builder.Add("norm", new BatchNorm(), Weighted("x", Image(3), 3),
            _builder.Parameter("gamma", vector), _builder.Parameter("beta", vector), _builder.State("mean", vector), _builder.State("variance", vector)));
        Assert.Contains("'norm'", Assert.Throws<NotSupportedException>(() => Differentiate()).Message);
    }

    private Tensor Image(int channels, string name = "image") => _builder.Input(name, new Shape(1, 3, 5, channels));

    private Tensor Weighted(string name, TensorView x, int channels) =>
        _builder.Add(name, new Conv2d(1), x, _builder.Parameter($"{name}.weight", new Shape(channels, 1, 1, x.Channels), ParameterLayout.Dense));

    private void Use(Tensor x) =>
        _sums.Add(_builder.Add($"{x.Name}/sum", new WeightedSum(), x, _builder.Input($"{x.Name}/weights", x.Shape)));

    private DifferentiatedGraph Differentiate()
    {
        Tensor loss = _sums.Aggregate((a, b) => _builder.Add("loss", new Add(), a, b));
        return Differentiation.Differentiate(_builder.Build(loss), loss);
    }

    private static NodeOutput[] WritersOf(LayerGraph graph, string tensor) =>
        [.. graph.Nodes.SelectMany(n => n.Outputs).Where(o => o.View.Tensor.Name == tensor)];
}
