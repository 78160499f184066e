using System.Collections.Immutable;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Tests.Backends;

/// <summary>
/// Graphs of one layer of random size, drawn from a seed: odd sizes and 1x1 maps, 1 to 320 channels, inputs that are slices of wider
/// tensors, outputs that are slices of wider tensors whose other channels must survive, gradients that are added to what is there.
/// </summary>
internal sealed class RandomLayer
{
    private const int MostChannels = 320;
    private const long MostElements = 40_000;
    private const double MostMultiplies = 1.5e6;

    private readonly Random _random;
    private readonly GraphBuilder _builder = new();
    private readonly List<Tensor> _outputs = [];

    private RandomLayer(int seed) => _random = new Random(seed);

    /// <summary>The kinds of layer by name.</summary>
    public static IReadOnlyDictionary<string, Action<RandomLayer>> Kinds { get; } = new Dictionary<string, Action<RandomLayer>>
    {
        ["conv"] = g => g.Convolution(hasBorderBias: false),
        ["conv with border bias"] = g => g.Convolution(hasBorderBias: true),
        ["conv data gradient"] = g => g.ConvolutionDataGradient(),
        ["conv weight gradient"] = g => g.ConvolutionWeightGradient(),
        ["bias gradient"] = g => g.Gradient(new BiasGradient(), g.Map(g.AnyShape())),
        ["depth-wise"] = g => g.Depthwise(),
        ["depth-wise data gradient"] = g => g.DepthwiseDataGradient(),
        ["depth-wise weight gradient"] = g => g.DepthwiseWeightGradient(),
        ["batch norm"] = g => g.BatchNorm(),
        ["batch norm training"] = g => g.BatchNormTraining(),
        ["relu"] = g => g.Forward(new Relu(), g.Map(g.AnyShape())),
        ["relu gradient"] = g => g.Elementwise(new ReluGradient(), 2, isGradient: true),
        ["add"] = g => g.Elementwise(new Add(), 2, isGradient: false),
        ["copy"] = g => g.Elementwise(new Copy(), 1, isGradient: true),
        ["fill"] = g => g.Forward(new Fill(g.AnyShape(), -1.5f)),
        ["max-pool"] = g => g.Forward(new MaxPool(), g.Map(g.AnyShape())),
        ["max-pool gradient"] = g => g.MaxPoolGradient(),
        ["resize"] = g => g.Resize(isGradient: false),
        ["resize gradient"] = g => g.Resize(isGradient: true),
        ["loss"] = g => g.Loss(),
        ["sgd"] = g => g.Sgd(),
        ["fold batch norm"] = g => g.FoldBatchNorm(),
        ["fold input batch norm"] = g => g.FoldInputBatchNorm(),
        ["fold pointwise"] = g => g.FoldPointwise(),
    };

    /// <summary>A graph of that kind.</summary>
    public static LayerGraph Create(string kind, int seed)
    {
        var graph = new RandomLayer(seed);
        Kinds[kind](graph);
        return graph._builder.Build([.. graph._outputs]);
    }

    private void Convolution(bool hasBorderBias)
    {
        Shape x = AnyShape();
        int kernel = hasBorderBias || _random.Chance(0.6) ? 3 : 1, stride = hasBorderBias || _random.Chance(0.6) ? 1 : 2;
        int channels = OutputChannels(x, kernel, stride);
        List<TensorView> inputs = [Map(x), Weights(channels, kernel, x.C)];
        if (hasBorderBias) inputs.Add(_builder.Parameter("bias", new Shape(Conv2d.BorderCases, 1, 1, channels)));
        else if (_random.Chance(0.5)) inputs.Add(Vector("bias", channels));
        Forward(new Conv2d(kernel, stride, hasBorderBias), [.. inputs]);
    }

    private void ConvolutionDataGradient()
    {
        Shape x = AnyShape();
        int kernel = _random.Chance(0.6) ? 3 : 1, stride = _random.Chance(0.5) ? 1 : 2, channels = OutputChannels(x, kernel, stride);
        Gradient(new Conv2dDataGradient(kernel, stride, x.H, x.W), Weights(channels, kernel, x.C), Map(Strided(x, stride) with { C = channels }));
    }

    private void ConvolutionWeightGradient()
    {
        Shape x = AnyShape();
        int kernel = _random.Chance(0.6) ? 3 : 1, stride = _random.Chance(0.5) ? 1 : 2, channels = OutputChannels(x, kernel, stride);
        Gradient(new Conv2dWeightGradient(kernel, stride), Map(x), Map(Strided(x, stride) with { C = channels }));
    }

    private void Depthwise()
    {
        Shape x = AnyShape();
        int multiplier = Multiplier();
        List<TensorView> inputs = [Map(x), DepthwiseWeights(x.C * multiplier)];
        if (_random.Chance(0.5)) inputs.Add(Vector("bias", x.C * multiplier));
        Forward(new DepthwiseConv(Dilation()), [.. inputs]);
    }

    private void DepthwiseDataGradient()
    {
        Shape x = AnyShape();
        int multiplier = Multiplier();
        Gradient(new DepthwiseDataGradient(Dilation(), multiplier), DepthwiseWeights(x.C * multiplier), Map(x with { C = x.C * multiplier }));
    }

    private void DepthwiseWeightGradient()
    {
        Shape x = AnyShape();
        int multiplier = Multiplier();
        Gradient(new DepthwiseWeightGradient(Dilation(), multiplier), Map(x), Map(x with { C = x.C * multiplier }));
    }

    private void BatchNorm()
    {
        Shape x = AnyShape();
        Forward(new BatchNorm(), [Map(x), .. BatchNormVectors(x.C)]);
    }

    // The gradient takes the statistics of its own input, as in every backward pass. No network shares a BN's scale, so dgamma is never added to.
    private void BatchNormTraining()
    {
        Shape shape = AnyShape(), vector = Shape.Vector(shape.C);
        TensorView x = Map(shape);
        TensorView[] vectors = BatchNormVectors(shape.C);
        Tensor mean = _builder.Activation("batch mean", vector, ElementType.Float32);
        Tensor inverseDeviation = _builder.Activation("inverse deviation", vector, ElementType.Float32);
        _builder.AddInto(
            "forward", new BatchNormTraining(), [x, .. vectors],
            Place("y", shape, ElementType.Compute, mayAccumulate: false), new NodeOutput(mean, false), new NodeOutput(inverseDeviation, false),
            new NodeOutput(_builder.Updated(vectors[2].Tensor), false), new NodeOutput(_builder.Updated(vectors[3].Tensor), false));
        Tensor dgamma = _builder.Activation("dgamma", vector, ElementType.Float32), dbeta = _builder.Activation("dbeta", vector, ElementType.Float32);
        _builder.AddInto(
            "backward", new BatchNormGradient(), [x, vectors[0], mean, inverseDeviation, Map(shape)],
            Place("dx", shape, ElementType.Compute, mayAccumulate: true), new NodeOutput(dgamma, false), new NodeOutput(dbeta, false));
        _outputs.AddRange([mean, inverseDeviation, dgamma, dbeta]);
    }

    private void Elementwise(Layer layer, int inputs, bool isGradient)
    {
        Shape shape = AnyShape();
        TensorView[] views = [.. Enumerable.Range(0, inputs).Select(_ => Map(shape))];
        if (isGradient) Gradient(layer, views);
        else Forward(layer, views);
    }

    private void MaxPoolGradient()
    {
        Shape x = AnyShape();
        Gradient(new MaxPoolGradient(), Map(x), Map(Strided(x, 2)));
    }

    private void Resize(bool isGradient)
    {
        Shape shape = AnyShape();
        shape = shape with { C = Math.Min(shape.C, 64) };
        // The network resizes by whole factors; any other ratio is as good.
        int height = _random.Chance(0.5) ? shape.H * _random.Next(1, 5) : _random.NextSize(40);
        int width = _random.Chance(0.5) ? shape.W * _random.Next(1, 5) : _random.NextSize(40);
        if (isGradient) Gradient(new ResizeGradient(height, width), Map(shape));
        else Forward(new Resize(height, width), Map(shape));
    }

    private void Loss()
    {
        Shape shape = AnyShape() with { C = 1 + _random.NextSize(24) };
        TensorView logits = Map(shape), labels = _builder.Input("labels", shape with { C = 1 }, ElementType.UInt8);
        float[] thresholds = [1, 0.7f, 0.2f, 0.02f], fractions = [0, 1f / 16, 0.5f, 1];
        var loss = new OhemCrossEntropy(255, thresholds[_random.Next(4)], fractions[_random.Next(4)]);
        ImmutableArray<Tensor> outputs = _builder.AddAll("loss", loss, logits, labels);
        _outputs.AddRange(outputs);
        Gradient(new CrossEntropyGradient(), logits, labels, outputs[1], _builder.Input("dLoss", Shape.Scalar, ElementType.Float32));
    }

    private void Sgd()
    {
        int channels = _random.NextSize(64), kernel = _random.Chance(0.5) ? 3 : 1;
        Shape shape = _random.Chance(0.5) ? Shape.Vector(channels) : new Shape(_random.NextSize(32), kernel, kernel, channels);
        Tensor parameter = _builder.Parameter("p", shape), velocity = _builder.State("v", shape);
        _builder.AddInto(
            "sgd", new SgdUpdate(0.9f, _random.Chance(0.5) ? 5e-4f : 0),
            [parameter, _builder.Input("gradient", shape, ElementType.Float32), velocity, _builder.Input("rate", Shape.Scalar, ElementType.Float32)],
            new NodeOutput(_builder.Updated(parameter), false), new NodeOutput(_builder.Updated(velocity), false));
    }

    private void FoldBatchNorm()
    {
        int channels = _random.NextSize(64);
        bool isDepthwise = _random.Chance(0.5), hasBias = _random.Chance(0.5);
        TensorView weights = isDepthwise ? DepthwiseWeights(channels) : Weights(channels, _random.Chance(0.5) ? 3 : 1, _random.NextSize(64));
        TensorView[] bias = hasBias ? [Vector("bias", channels)] : [];
        AddOutputs(new FoldBatchNorm(isDepthwise, hasBias, 1e-5f), [weights, .. bias, .. BatchNormVectors(channels)]);
    }

    private void FoldInputBatchNorm()
    {
        int channels = _random.NextSize(64), outputs = _random.NextSize(64);
        bool hasBias = _random.Chance(0.5);
        TensorView[] bias = hasBias ? [Vector("bias", outputs)] : [];
        AddOutputs(
            new FoldInputBatchNorm(hasBias, 1e-5f), [Weights(outputs, _random.Chance(0.5) ? 3 : 1, channels), .. bias, .. BatchNormVectors(channels)]);
    }

    private void FoldPointwise()
    {
        int inputs = _random.NextSize(16), middle = _random.NextSize(64), outputs = _random.NextSize(64);
        AddOutputs(
            new FoldPointwise(), Weights(middle, _random.Chance(0.5) ? 3 : 1, inputs), Vector("bias a", middle), Weights(outputs, 1, middle, "weights b"),
            Vector("bias b", outputs));
    }

    private void AddOutputs(Layer layer, params TensorView[] inputs) => _outputs.AddRange(_builder.AddAll("layer", layer, inputs));

    private void Forward(Layer layer, params TensorView[] inputs) => Apply(layer, inputs, mayAccumulate: false);

    private void Gradient(Layer layer, params TensorView[] inputs) => Apply(layer, inputs, mayAccumulate: true);

    private void Apply(Layer layer, TensorView[] inputs, bool mayAccumulate)
    {
        ImmutableArray<Shape> shapes = layer.InferShapes([.. inputs.Select(i => i.Shape)]);
        NodeOutput[] outputs = [.. shapes.Select((shape, i) => Place($"out{i}", shape, layer.OutputType(i), mayAccumulate))];
        _builder.AddInto("layer", layer, inputs, outputs);
    }

    // Where an output goes: a tensor of its own, or a slice of a wider one that is full otherwise; to be added to in half of the cases.
    private NodeOutput Place(string name, Shape shape, ElementType type, bool mayAccumulate)
    {
        bool isSlice = type == ElementType.Compute && _random.Chance(0.5), accumulate = mayAccumulate && _random.Chance(0.5);
        int before = isSlice ? _random.Next(0, 20) : 0, after = isSlice ? _random.Next(0, 20) : 0;
        Tensor tensor = _builder.Activation(name, shape with { C = before + shape.C + after }, type);
        _outputs.Add(tensor);
        if (before > 0) FillFromInput(tensor.Slice(0, before));
        if (accumulate) FillFromInput(tensor.Slice(before, shape.C));
        if (after > 0) FillFromInput(tensor.Slice(before + shape.C, after));
        return new NodeOutput(tensor.Slice(before, shape.C), accumulate);
    }

    private void FillFromInput(TensorView view)
    {
        string name = $"{view.Tensor.Name}/{view.Channel}";
        _builder.AddInto(name, new Copy(), [_builder.Input($"{name} before", view.Shape, view.Tensor.Type)], new NodeOutput(view, false));
    }

    // A map that the caller fills, in half of the cases a slice of a wider one.
    private TensorView Map(Shape shape)
    {
        bool isSlice = _random.Chance(0.5);
        int before = isSlice ? _random.Next(0, 20) : 0, after = isSlice ? _random.Next(0, 20) : 0;
        Tensor tensor = _builder.Input($"map{_inputs++}", shape with { C = before + shape.C + after });
        return tensor.Slice(before, shape.C);
    }

    private int _inputs;

    private Shape AnyShape()
    {
        int n = _random.Chance(0.5) ? 1 : _random.Next(2, 4), h = _random.NextSize(40), w = _random.NextSize(40);
        int channels = _random.NextSize(MostChannels);
        return new Shape(n, h, w, (int)Math.Clamp(MostElements / ((long)n * h * w), 1, channels));
    }

    private int OutputChannels(Shape x, int kernel, int stride)
    {
        double perChannel = (double)Strided(x, stride).Pixels * kernel * kernel * x.C;
        return Math.Min(_random.NextSize(MostChannels), Math.Max(1, (int)(MostMultiplies / perChannel)));
    }

    private static Shape Strided(Shape x, int stride) => x with { H = (x.H + stride - 1) / stride, W = (x.W + stride - 1) / stride };

    private int Multiplier() => _random.Chance(0.6) ? 1 : _random.Next(2, 4);

    private int Dilation() => _random.Chance(0.7) ? 1 + 2 * _random.Next(3) : _random.Next(1, 12);

    private TensorView Weights(int outputs, int kernel, int inputs, string name = "weights") =>
        _builder.Parameter(name, new Shape(outputs, kernel, kernel, inputs), ParameterLayout.Dense);

    private TensorView DepthwiseWeights(int channels) => _builder.Parameter("weights", new Shape(1, 3, 3, channels), ParameterLayout.Depthwise);

    private TensorView Vector(string name, int channels) => _builder.Parameter(name, Shape.Vector(channels));

    private TensorView[] BatchNormVectors(int channels) =>
    [
        Vector("gamma", channels), Vector("beta", channels),
        _builder.State("running mean", Shape.Vector(channels)), _builder.State("running variance", Shape.Vector(channels)),
    ];
}
