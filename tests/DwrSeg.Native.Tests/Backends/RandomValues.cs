using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Tests.Backends;

/// <summary>
/// Values for a graph's inputs, parameters and state, sensible for what reads them: positive variances, labels within the classes, Kaiming
/// weights. All are fp32 numbers, so that a float64 and an fp32 backend start from the same.
/// </summary>
internal static class RandomValues
{
    /// <summary>A function that draws an element of <paramref name="tensor"/>.</summary>
    private delegate double Draw(Tensor tensor, Random random);

    // What an input of a layer must be like, where "any" will not do; input counts from the end where negative.
    private static readonly (Type Layer, int Input, Draw Draw)[] Roles =
    [
        (typeof(BatchNorm), 1, Positive), (typeof(BatchNorm), 4, Positive),
        (typeof(BatchNormTraining), 1, Positive), (typeof(BatchNormTraining), 4, Positive),
        (typeof(FoldBatchNorm), -4, Positive), (typeof(FoldBatchNorm), -1, Positive),
        (typeof(FoldInputBatchNorm), -4, Positive), (typeof(FoldInputBatchNorm), -1, Positive),
        (typeof(SgdUpdate), 3, (_, random) => 0.02 + 0.1 * random.NextDouble()),
        (typeof(Conv2d), 1, Weight), (typeof(Conv2dDataGradient), 0, Weight),
        (typeof(DepthwiseConv), 1, Weight), (typeof(DepthwiseDataGradient), 0, Weight),
        (typeof(FoldBatchNorm), 0, Weight), (typeof(FoldInputBatchNorm), 0, Weight), (typeof(FoldPointwise), 0, Weight), (typeof(FoldPointwise), 2, Weight),
    ];

    /// <summary>Values of every input and stored tensor.</summary>
    public static Dictionary<Tensor, float[]> For(LayerGraph graph, int seed)
    {
        var random = new Random(seed);
        var values = new Dictionary<Tensor, float[]>();
        foreach (Tensor tensor in graph.Inputs.Concat(graph.Stored))
        {
            Draw draw = tensor.Type == ElementType.UInt8 ? LabelsOf(graph, tensor) : RoleOf(graph, tensor);
            float[] drawn = new float[tensor.Shape.Elements];
            for (int i = 0; i < drawn.Length; i++) drawn[i] = (float)draw(tensor, random);
            values.Add(tensor, drawn);
        }
        return values;
    }

    private static Draw RoleOf(LayerGraph graph, Tensor tensor)
    {
        foreach (Node node in graph.Nodes)
        {
            foreach ((Type layer, int input, Draw draw) in Roles)
            {
                if (node.Layer.GetType() != layer) continue;
                int index = input < 0 ? node.Inputs.Length + input : input;
                if (node.Inputs[index].Tensor == tensor) return draw;
            }
        }
        return tensor.Kind == TensorKind.Input ? (_, random) => random.NextNormal() : (_, random) => 0.3 * random.NextNormal();
    }

    private static Draw LabelsOf(LayerGraph graph, Tensor labels)
    {
        Node? reader = graph.Nodes.FirstOrDefault(n => n.Layer is OhemCrossEntropy && n.Inputs[1].Tensor == labels);
        if (reader is null) return (_, random) => random.Next(256);
        byte ignore = ((OhemCrossEntropy)reader.Layer).Ignore;
        return (_, random) => random.Chance(0.1) ? ignore : random.Next(reader.Inputs[0].Channels);
    }

    private static double Positive(Tensor tensor, Random random) => 0.5 + random.NextDouble();

    private static double Weight(Tensor tensor, Random random)
    {
        bool isDepthwise = tensor.Shape is { N: 1, H: 3 } && tensor.Layout == ParameterLayout.Depthwise;
        double fanIn = tensor.Shape.H * tensor.Shape.W * (isDepthwise ? 1 : tensor.Shape.C);
        return Math.Sqrt(2 / fanIn) * random.NextNormal();
    }
}
