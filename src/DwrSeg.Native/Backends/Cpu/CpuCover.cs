using System.Collections.Immutable;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cpu;

/// <summary>Covers a graph with steps: fused ones where a rule matches, one a node elsewhere.</summary>
internal static class CpuCover
{
    // Tried in order on the first node that is not covered yet; a rule says which nodes it takes, that one included.
    private static readonly Func<GraphIndex, ImmutableArray<bool>, Node, StepCover?>[] FusionRules =
    [
        (index, _, node) => ConvWithTail(index, node),
        (index, _, node) => ConvChain(index, node),
        DepthwiseBranches,
        (index, _, node) => NormRelu(index, node),
        (index, _, node) => ReluNormGradient(index, node),
        AllUpdates,
    ];

    public static IReadOnlyList<StepCover> Of(LayerGraph graph, bool fuse)
    {
        var index = new GraphIndex(graph);
        ImmutableArray<bool> constant = graph.ConstantNodes();
        var covered = new bool[graph.Nodes.Length];
        var covers = new List<(int Position, StepCover Cover)>();
        for (int i = 0; i < covered.Length; i++)
        {
            if (covered[i]) continue;
            Node node = graph.Nodes[i];
            StepCover? cover = null;
            if (fuse && !constant[i])
            {
                foreach (var rule in FusionRules)
                {
                    cover = rule(index, constant, node);
                    if (cover is not null && cover.Nodes.Any(n => covered[index.PositionOf(n)])) cover = null;
                    if (cover is not null) break;
                }
            }
            cover ??= new StepCover(CpuLowerings.NameOf(node), [node], [], CpuLowerings.For(node)) { IsConstant = constant[i] };
            foreach (Node part in cover.Nodes) covered[index.PositionOf(part)] = true;
            covers.Add((cover.Nodes.Max(index.PositionOf), cover));
        }
        return [.. covers.OrderBy(c => c.Position).Select(c => c.Cover)];
    }

    /// <summary>
    /// A 3x3 convolution, its ReLU, the 1x1 convolution that alone reads it and the residual sum: SIR, and the decoder with its classifier.
    /// Weights that each run updates stay out: in training a BN or a gradient reads the map between anyway.
    /// </summary>
    private static StepCover? ConvWithTail(GraphIndex index, Node node)
    {
        if (node.Layer is not Conv2d { Kernel: 3 } || node.Outputs[0].Accumulate) return null;
        List<Node> nodes = [node];
        List<TensorView> inner = [];
        if (index.OnlyReader(node.Output) is { Layer: Relu } relu) Take(relu);
        if (index.OnlyReader(nodes[^1].Output) is not { Layer: Conv2d { Kernel: 1, Stride: 1 } } project) return null;
        if (project.Outputs[0].Accumulate || index.IsUpdated(node.Inputs[1]) || index.IsUpdated(project.Inputs[1])) return null;
        Take(project);
        if (index.OnlyReader(project.Output) is { Layer: Add } sum) Take(sum);
        return new StepCover(NameOf(nodes), [.. nodes], [.. inner], CpuLowerings.BindConvolutionWithTail);

        void Take(Node next)
        {
            inner.Add(nodes[^1].Output);
            nodes.Add(next);
        }
    }

    /// <summary>A convolution with the ReLU and the residual sum behind it.</summary>
    private static StepCover? ConvChain(GraphIndex index, Node node)
    {
        if (node.Layer is not Conv2d || node.Outputs[0].Accumulate) return null;
        List<Node> nodes = [node];
        List<TensorView> inner = [];
        bool hasRelu = false, hasSum = false;
        while (true)
        {
            TensorView y = nodes[^1].Output;
            Node? next = index.OnlyReader(y);
            if (next is { Layer: Relu } && !hasRelu) hasRelu = true;
            else if (next is { Layer: Add } && !hasSum) hasSum = true;
            else break;
            nodes.Add(next);
            inner.Add(y);
        }
        return nodes.Count == 1 ? null : new StepCover(NameOf(nodes), [.. nodes], [.. inner], CpuLowerings.BindConvolution);
    }

    /// <summary>The dilated branches of a DWR module in one pass, with the ReLU behind their joined map.</summary>
    private static StepCover? DepthwiseBranches(GraphIndex index, ImmutableArray<bool> constant, Node node)
    {
        if (node.Layer is not DepthwiseConv) return null;
        List<Node> nodes = [node];
        for (int i = index.PositionOf(node) + 1; i < index.Graph.Nodes.Length; i++)
        {
            Node next = index.Graph.Nodes[i];
            if (constant[i]) continue;
            bool isSibling = next.Layer is DepthwiseConv && next.Output.Shape with { C = 1 } == node.Output.Shape with { C = 1 }
                && next.Inputs.Length == node.Inputs.Length && !nodes.Any(n => n.Output.Overlaps(next.Inputs[0]));
            if (!isSibling) break;
            nodes.Add(next);
        }
        Tensor joined = node.Output.Tensor;
        bool isWhole = nodes.All(n => n.Output.Tensor == joined) && nodes.Sum(n => n.Output.Channels) == joined.Shape.C;
        List<TensorView> inner = [];
        if (isWhole && index.OnlyReader(joined) is { Layer: Relu } relu)
        {
            nodes.Add(relu);
            inner.Add(joined);
        }
        return nodes.Count == 1 ? null : new StepCover(NameOf(nodes), [.. nodes], [.. inner], CpuLowerings.BindDepthwise);
    }

    private static StepCover? NormRelu(GraphIndex index, Node node) =>
        node.Layer is BatchNorm or BatchNormTraining && index.OnlyReader(node.Output) is { Layer: Relu } relu
            ? new StepCover(NameOf([node, relu]), [node, relu], [node.Output], CpuLowerings.BindNorm) : null;

    private static StepCover? ReluNormGradient(GraphIndex index, Node node) =>
        node.Layer is ReluGradient && !node.Outputs[0].Accumulate
            && index.OnlyReader(node.Output) is { Layer: BatchNormGradient } norm && norm.Inputs[4] == node.Output
            ? new StepCover(NameOf([node, norm]), [node, norm], [node.Output], CpuLowerings.BindNormGradient) : null;

    private static StepCover? AllUpdates(GraphIndex index, ImmutableArray<bool> constant, Node node) =>
        node.Layer is SgdUpdate
            ? new StepCover("sgd", [.. index.Graph.Nodes.Where(n => n.Layer is SgdUpdate)], [], CpuLowerings.BindUpdates) : null;

    private static string NameOf(IReadOnlyList<Node> nodes) => string.Join("+", nodes.Select(CpuLowerings.NameOf));
}
