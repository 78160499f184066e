using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using Xunit;

namespace DwrSeg.Native.Tests.Graph.Passes;

public sealed class DropDeadLayersTests
{
    private readonly GraphBuilder _builder = new();

    [Fact]
    public void WhatNoOutputNeedsGoes_WithItsParameters()
    {
        Tensor x = _builder.Input("x", new Shape(1, 3, 4, 2)), y = _builder.Add("y", new Relu(), x);
        Tensor dead = _builder.Add("dead", new Conv2d(1), y, _builder.Parameter("w", new Shape(3, 1, 1, 2), ParameterLayout.Dense));
        _builder.Add("dead too", new Relu(), dead);
        LayerGraph left = PassCheck.AssertExact(_builder.Build(y), DropDeadLayers.Apply);
        Assert.Equal(["y"], left.Nodes.Select(n => n.Name));
        Assert.Empty(left.Stored);
    }

    [Fact]
    public void WriterOfASliceThatNobodyReadsGoes()
    {
        Tensor x = _builder.Input("x", new Shape(1, 3, 4, 2)), joined = _builder.Activation("joined", new Shape(1, 3, 4, 4));
        _builder.AddInto("a", new Relu(), [x], new NodeOutput(joined.Slice(0, 2), false));
        _builder.AddInto("b", new Copy(), [x], new NodeOutput(joined.Slice(2, 2), false));
        LayerGraph left = PassCheck.AssertExact(_builder.Build(_builder.Add("y", new MaxPool(), joined.Slice(2, 2))), DropDeadLayers.Apply);
        Assert.Equal(["b", "y"], left.Nodes.Select(n => n.Name));
    }

    [Fact]
    public void UpdateOfAStoredTensorStays()
    {
        Tensor p = _builder.Parameter("p", Shape.Vector(3));
        _builder.AddInto("update", new Relu(), [_builder.Add("double", new Add(), p, p)], new NodeOutput(_builder.Updated(p), false));
        Assert.Equal(2, DropDeadLayers.Apply(_builder.Build()).Nodes.Length);
    }

    [Fact]
    public void AccumulationIntoANeededTensorStays()
    {
        Tensor x = _builder.Input("x", new Shape(1, 3, 4, 2)), y = _builder.Add("y", new Relu(), x);
        _builder.AddInto("more", new Copy(), [x], new NodeOutput(y, true));
        Assert.Equal(2, PassCheck.AssertExact(_builder.Build(y), DropDeadLayers.Apply).Nodes.Length);
    }
}
