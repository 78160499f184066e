using DwrSeg.Native.Autograd;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;

namespace DwrSeg.Native.Tests.Backends;

/// <summary>
/// Small networks of random structure, drawn from a seed: the patterns that backends fuse and passes rewrite (conv + BN + ReLU, residual
/// sums, dilated branches on channel slices joined again, pool beside a strided convolution, shared maps), in an order nobody thought of.
/// </summary>
internal sealed class RandomNetwork
{
    private const int MostChannels = 48;

    private readonly Random _random;
    private readonly GraphBuilder _builder = new();
    private readonly bool _isTraining;
    private int _count;

    private RandomNetwork(int seed, bool isTraining) => (_random, _isTraining) = (new Random(seed), isTraining);

    /// <summary>A network for inference as a model builds it, before any pass.</summary>
    public static LayerGraph Inference(int seed)
    {
        var network = new RandomNetwork(seed, isTraining: false);
        (Tensor logits, Tensor? extra) = network.Body();
        return extra is null ? network._builder.Build(logits) : network._builder.Build(logits, extra);
    }

    /// <summary>A whole training step: forward, backward, update; the gradients stay outputs.</summary>
    public static LayerGraph Training(int seed)
    {
        var network = new RandomNetwork(seed, isTraining: true);
        (Tensor logits, _) = network.Body();
        Tensor labels = network._builder.Input("labels", logits.Shape with { C = 1 }, ElementType.UInt8);
        Tensor loss = network._builder.Add("loss", new OhemCrossEntropy(255, network._random.Chance(0.5) ? 0.7f : 1), logits, labels);
        LayerGraph forward = PlaceBranches.Apply(network._builder.Build(loss));
        return Sgd.Append(Differentiation.Differentiate(forward, forward["loss"]), 0.9f, 5e-4f, keepGradients: true);
    }

    private (Tensor Logits, Tensor? Extra) Body()
    {
        var shape = new Shape(_random.Next(1, 3), _random.Next(1, 20), _random.Next(1, 20), _random.Next(1, 8));
        Tensor x = Block(_builder.Input("image", shape));
        Tensor? extra = null;
        for (int i = _random.Next(1, 5); i > 0; i--)
        {
            x = _random.Next(6) switch
            {
                0 => Residual(x),
                1 => Branches(x),
                2 => Downsample(x),
                3 => Mixed(x),
                4 => Norm(x),
                _ => Block(x),
            };
            if (_random.Chance(0.1)) extra = x;
        }
        Tensor logits = Conv(x, 2 + _random.Next(6), 1, 1, hasBias: true);
        if (_random.Chance(0.7)) logits = Add("resize", new Resize(_random.Next(1, 24), _random.Next(1, 24)), logits);
        return (logits, extra == logits ? null : extra);
    }

    // conv, then perhaps BN, perhaps ReLU.
    private Tensor Block(Tensor x)
    {
        Tensor y = Conv(x, Channels(), _random.Chance(0.7) ? 3 : 1, _random.Chance(0.8) ? 1 : 2, _random.Chance(0.3));
        if (_random.Chance(0.7)) y = Norm(y);
        return _random.Chance(0.6) ? Add("relu", new Relu(), y) : y;
    }

    private Tensor Residual(Tensor x)
    {
        Tensor y = Add("relu", new Relu(), Norm(Conv(x, Channels(), 3, 1, hasBias: false)));
        if (_random.Chance(0.3)) y = Norm(Depthwise(y, 1, 1));
        y = Conv(y, x.Shape.C, 1, 1, _random.Chance(0.5));
        if (_random.Chance(0.3)) y = Norm(y);
        return Add("sum", new Add(), _random.Chance(0.5) ? [x, y] : [y, x]);
    }

    private Tensor Branches(Tensor x)
    {
        int branches = _random.Next(2, 4), group = _random.Next(1, 9);
        bool isShared = _random.Chance(0.3);
        Tensor r = Conv(x, isShared ? group : branches * group, 3, 1, hasBias: false);
        if (_random.Chance(0.7)) r = Norm(r);
        if (_random.Chance(0.7)) r = Add("relu", new Relu(), r);
        TensorView[] parts = [.. Enumerable.Range(0, branches).Select(
            i => (TensorView)Depthwise(r.Slice(isShared ? 0 : i * group, group), 2 * i + 1, i == 0 ? 2 : 1))];
        Tensor y = Add("join", new Concat(), parts);
        if (_random.Chance(0.7)) y = Norm(y);
        if (_random.Chance(0.2)) y = Add("relu", new Relu(), y);
        y = Conv(y, x.Shape.C, 1, 1, hasBias: false);
        return _random.Chance(0.7) ? Add("sum", new Add(), y, x) : y;
    }

    private Tensor Downsample(Tensor x)
    {
        Tensor down = Conv(x, Channels(), 3, 2, hasBias: false);
        if (_random.Chance(0.7)) down = Norm(down);
        return Add("join", new Concat(), down, Add("pool", new MaxPool(), x));
    }

    // The decoder's pattern: maps of several sizes joined, normalised, convolved.
    private Tensor Mixed(Tensor x)
    {
        Tensor small = Add("resize", new Resize(x.Shape.H, x.Shape.W), Block(Add("pool", new MaxPool(), x)));
        TensorView[] parts = _random.Chance(0.3) ? [small, x, x] : [x, small];
        return Conv(Norm(Add("join", new Concat(), parts)), Channels(), 3, 1, _random.Chance(0.3));
    }

    private Tensor Conv(Tensor x, int channels, int kernel, int stride, bool hasBias)
    {
        string name = Name("conv");
        Tensor w = _builder.Parameter($"{name}.weight", new Shape(channels, kernel, kernel, x.Shape.C), ParameterLayout.Dense);
        TensorView[] bias = hasBias ? [_builder.Parameter($"{name}.bias", Shape.Vector(channels))] : [];
        return _builder.Add(name, new Conv2d(kernel, stride), [x, w, .. bias]);
    }

    private Tensor Depthwise(TensorView x, int dilation, int multiplier)
    {
        string name = Name("depthwise");
        return _builder.Add(
            name, new DepthwiseConv(dilation), x, _builder.Parameter($"{name}.weight", new Shape(1, 3, 3, x.Channels * multiplier), ParameterLayout.Depthwise));
    }

    private Tensor Norm(Tensor x)
    {
        string name = Name("norm");
        Shape vector = Shape.Vector(x.Shape.C);
        Tensor gamma = _builder.Parameter($"{name}.weight", vector), beta = _builder.Parameter($"{name}.bias", vector);
        Tensor mean = _builder.State($"{name}.mean", vector), variance = _builder.State($"{name}.variance", vector);
        if (!_isTraining) return _builder.Add(name, new BatchNorm(), x, gamma, beta, mean, variance);
        Tensor y = _builder.Activation(name, x.Shape);
        _builder.AddInto(
            name, new BatchNormTraining(), [x, gamma, beta, mean, variance], new NodeOutput(y, false),
            new NodeOutput(_builder.Activation($"{name}.batch", vector, ElementType.Float32), false),
            new NodeOutput(_builder.Activation($"{name}.inverse", vector, ElementType.Float32), false),
            new NodeOutput(_builder.Updated(mean), false), new NodeOutput(_builder.Updated(variance), false));
        return y;
    }

    private Tensor Add(string name, Layer layer, params TensorView[] inputs) => _builder.Add(Name(name), layer, inputs);

    private string Name(string kind) => $"{kind}{_count++}";

    private int Channels() => _random.NextSize(MostChannels);
}
