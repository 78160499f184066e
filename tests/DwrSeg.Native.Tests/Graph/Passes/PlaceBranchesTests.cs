using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using Xunit;

namespace DwrSeg.Native.Tests.Graph.Passes;

public sealed class PlaceBranchesTests
{
    private readonly GraphBuilder _builder = new();
    private readonly Tensor _x;

    public PlaceBranchesTests() => _x = _builder.Input("x", new Shape(2, 3, 5, 4));

    [Fact]
    public void BranchesWriteTheirSliceOfTheJoinedTensor()
    {
        Tensor a = Relu("a", _x), b = Relu("b", _x.Slice(1, 2));
        LayerGraph placed = AssertExact(copies: 0, _builder.Add("join", new Concat(), a, b));
        Assert.Equal([(0, 4), (4, 2)], placed.Nodes.Select(n => (n.Output.Channel, n.Output.Channels)));
        Assert.All(placed.Nodes, n => Assert.Equal("join", n.Output.Tensor.Name));
    }

    [Fact]
    public void BranchMayHaveOtherReaders()
    {
        Tensor a = Relu("a", _x), b = Relu("b", _x);
        Tensor joined = _builder.Add("join", new Concat(), a, b);
        AssertExact(copies: 0, _builder.Add("pool", new MaxPool(), a), _builder.Add("sum", new Add(), b, joined.Slice(2, 4)), joined);
    }

    [Fact]
    public void GraphInputIsCopied() => AssertExact(copies: 1, _builder.Add("join", new Concat(), Relu("a", _x), _x));

    [Fact]
    public void GraphOutputIsCopied()
    {
        Tensor a = Relu("a", _x);
        AssertExact(copies: 1, a, _builder.Add("join", new Concat(), a, Relu("b", _x)));
    }

    [Fact]
    public void SliceIsCopied() => AssertExact(copies: 1, _builder.Add("join", new Concat(), Relu("a", _x).Slice(1, 2), Relu("b", _x)));

    [Fact]
    public void BranchThatStandsTwiceIsCopiedOnce()
    {
        Tensor a = Relu("a", _x);
        AssertExact(copies: 1, _builder.Add("join", new Concat(), a, Relu("b", _x), a));
    }

    [Fact]
    public void BranchOfTwoJoinedTensorsIsCopiedIntoOne()
    {
        Tensor a = Relu("a", _x);
        AssertExact(copies: 1, _builder.Add("one", new Concat(), a, Relu("b", _x)), _builder.Add("two", new Concat(), Relu("c", _x), a));
    }

    [Fact]
    public void JoinedTensorCanBeABranchItself()
    {
        Tensor inner = _builder.Add("inner", new Concat(), Relu("a", _x), Relu("b", _x.Slice(0, 1)));
        Tensor outer = _builder.Add("outer", new Concat(), Relu("c", _x), inner);
        LayerGraph placed = AssertExact(copies: 0, _builder.Add("pool", new MaxPool(), inner.Slice(3, 2)), outer);
        Assert.DoesNotContain(placed.Tensors, t => t.Name == "inner");
    }

    private LayerGraph AssertExact(int copies, params Tensor[] outputs)
    {
        LayerGraph placed = PassCheck.AssertExact(_builder.Build(outputs), PlaceBranches.Apply);
        Assert.DoesNotContain(placed.Nodes, n => n.Layer is Concat);
        Assert.Equal(copies, placed.Nodes.Count(n => n.Layer is Copy));
        return placed;
    }

    private Tensor Relu(string name, TensorView x) => _builder.Add(name, new Relu(), x);
}
