using DwrSeg.Native.Graph;
using Xunit;

namespace DwrSeg.Native.Tests.Graph;

/// <summary>What a graph refuses, and that it says why.</summary>
public sealed class LayerGraphTests
{
    private readonly GraphBuilder _builder = new();
    private readonly Shape _shape = new(1, 2, 3, 4);

    [Fact]
    public void TensorWrittenTwiceIsRefused()
    {
        Tensor x = _builder.Input("x", _shape), y = _builder.Add("y", new Relu(), x);
        _builder.AddInto("again", new Relu(), [x], new NodeOutput(y, false));
        AssertRefused("'again' writes y");
    }

    [Fact]
    public void OverlappingSlicesWrittenTwiceAreRefused_AndDisjointOnesNot()
    {
        Tensor x = _builder.Input("x", _shape), y = _builder.Activation("y", _shape);
        _builder.AddInto("left", new Relu(), [x.Slice(0, 2)], new NodeOutput(y.Slice(0, 2), false));
        _builder.AddInto("right", new Relu(), [x.Slice(0, 2)], new NodeOutput(y.Slice(2, 2), false));
        _builder.Build(y);
        _builder.AddInto("middle", new Relu(), [x.Slice(0, 2)], new NodeOutput(y.Slice(1, 2), false));
        AssertRefused("'middle' writes y[1..3]");
    }

    [Fact]
    public void InputsAndParametersAreNotWritten()
    {
        Tensor x = _builder.Input("x", _shape), p = _builder.Parameter("p", _shape);
        _builder.AddInto("write", new Relu(), [x], new NodeOutput(p, false));
        AssertRefused("'write' writes p");
    }

    [Fact]
    public void ReadBeforeAWriteIsRefused()
    {
        _builder.Add("read", new Relu(), _builder.Activation("y", _shape));
        AssertRefused("'read' reads y");
    }

    [Fact]
    public void ReadOfAPartlyWrittenTensorIsRefused()
    {
        Tensor x = _builder.Input("x", _shape), y = _builder.Activation("y", _shape);
        _builder.AddInto("left", new Relu(), [x.Slice(0, 2)], new NodeOutput(y.Slice(0, 2), false));
        _builder.Add("good", new Relu(), y.Slice(0, 2));
        _builder.Build();
        _builder.Add("bad", new Relu(), y.Slice(0, 3));
        AssertRefused("'bad' reads y[0..3]");
    }

    [Fact]
    public void AccumulationNeedsSomethingToAddTo()
    {
        Tensor x = _builder.Input("x", _shape), y = _builder.Activation("y", _shape);
        _builder.AddInto("add", new Relu(), [x], new NodeOutput(y, true));
        AssertRefused("'add' accumulates into y");
    }

    [Fact]
    public void StoredTensorIsNotReadAfterItsUpdate_ButTheUpdateIs()
    {
        Tensor p = _builder.Parameter("p", _shape), updated = _builder.Updated(p);
        _builder.AddInto("update", new Relu(), [p], new NodeOutput(updated, false));
        _builder.Add("good", new Relu(), updated);
        _builder.Build();
        _builder.Add("bad", new Relu(), p);
        AssertRefused("'bad' reads 'p' after an update has replaced it");
    }

    [Fact]
    public void OutputThatNobodyWritesIsRefused()
    {
        Tensor x = _builder.Input("x", _shape), y = _builder.Activation("y", _shape);
        _builder.AddInto("left", new Relu(), [x.Slice(0, 2)], new NodeOutput(y.Slice(0, 2), false));
        Assert.Contains("'y'", Assert.Throws<InvalidOperationException>(() => _builder.Build(y)).Message);
    }

    [Fact]
    public void NamesAreUnique()
    {
        _builder.Input("x", _shape);
        Assert.Contains("'x'", Assert.Throws<ArgumentException>(() => _builder.Parameter("x", _shape)).Message);
    }

    [Fact]
    public void EmptyTensorIsRefused() =>
        Assert.Contains("'x'", Assert.Throws<ShapeException>(() => _builder.Input("x", _shape with { H = 0 })).Message);

    [Fact]
    public void OnlyStoredTensorsAreUpdated() =>
        Assert.Contains("'x'", Assert.Throws<ArgumentException>(() => _builder.Updated(_builder.Input("x", _shape))).Message);

    [Fact]
    public void ViewOfAnotherShapeIsRefused()
    {
        Tensor x = _builder.Input("x", _shape), y = _builder.Activation("y", _shape);
        Assert.Throws<ShapeException>(() => _builder.AddInto("pool", new MaxPool(), [x], new NodeOutput(y, false)));
        Assert.Throws<ShapeException>(() => _builder.AddInto("relu", new Relu(), [x], new NodeOutput(y.Slice(0, 3), false)));
    }

    [Fact]
    public void MisfittingWeightsNameLayerAndShapes()
    {
        Tensor x = _builder.Input("x", _shape), w = _builder.Parameter("w", new Shape(8, 3, 3, 5));
        string message = Assert.Throws<ShapeException>(() => _builder.Add("conv", new Conv2d(3), x, w)).Message;
        Assert.Contains("'conv'", message);
        Assert.Contains("8x3x3x5", message);
        Assert.Contains("1x2x3x4", message);
    }

    [Fact]
    public void SliceStaysInsideItsTensor()
    {
        Tensor x = _builder.Input("x", _shape);
        Assert.Throws<ArgumentOutOfRangeException>(() => x.Slice(2, 3));
        Assert.Throws<ArgumentOutOfRangeException>(() => x.Slice(-1, 2));
        Assert.Throws<ArgumentOutOfRangeException>(() => x.Slice(0, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => x.Slice(1, 2).Slice(1, 2));
        Assert.Equal(new TensorView(x, 2, 1), x.Slice(1, 2).Slice(1, 1));
    }

    [Fact]
    public void NodesThatDependOnParametersAloneAreConstant()
    {
        Tensor x = _builder.Input("x", _shape), w = _builder.Parameter("w", new Shape(4, 1, 1, 4)), p = _builder.Parameter("p", _shape);
        Tensor folded = _builder.Add("constant", new Relu(), w);
        _builder.Add("dynamic", new Conv2d(1), x, _builder.Add("constant too", new Copy(), folded));
        _builder.Add("fill", new Fill(_shape, 0));
        _builder.AddInto("update", new Relu(), [p], new NodeOutput(_builder.Updated(p), false));
        Assert.Equal([true, true, false, false, false], _builder.Build().ConstantNodes());
    }

    [Fact]
    public void ChannelSetKnowsWhatItCovers()
    {
        var random = new Random(1);
        for (int round = 0; round < 500; round++)
        {
            var set = new ChannelSet();
            var isIn = new bool[24];
            for (int i = 0; i < random.Next(6); i++)
            {
                (int start, int count) = Range();
                set.Add(start, count);
                isIn.AsSpan(start, count).Fill(true);
            }
            (int channel, int channels) = Range();
            bool[] part = isIn[channel..(channel + channels)];
            Assert.Equal(part.All(b => b), set.Covers(channel, channels));
            Assert.Equal(part.Any(b => b), set.Touches(channel, channels));
            int[] missing = [.. set.Missing(channel, channels).SelectMany(m => Enumerable.Range(m.Channel, m.Channels))];
            Assert.Equal(Enumerable.Range(channel, channels).Where(c => !isIn[c]), missing);
        }

        (int Start, int Count) Range()
        {
            int start = random.Next(20);
            return (start, 1 + random.Next(24 - start));
        }
    }

    private void AssertRefused(string reason) =>
        Assert.Contains(reason, Assert.Throws<InvalidOperationException>(() => _builder.Build()).Message);
}
