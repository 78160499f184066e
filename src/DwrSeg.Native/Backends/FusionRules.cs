using System.Collections.Immutable;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends;

/// <summary>Nodes that a step can take together, and what then lies between them and is never written.</summary>
internal sealed record FusedNodes(ImmutableArray<Node> Nodes, ImmutableArray<TensorView> Inner);

/// <summary>Which neighbouring layers go into one step: what the backends' covers have in common.</summary>
internal static class FusionRules
{
    /// <summary>A convolution with at most one ReLU and one residual sum behind it, in any order.</summary>
    public static FusedNodes? ConvChain(GraphIndex index, Node node)
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
        return nodes.Count == 1 ? null : new FusedNodes([.. nodes], [.. inner]);
    }

    /// <summary>
    /// A 3x3 convolution, its ReLU, the 1x1 convolution that alone reads it and the residual sum: SIR, and the decoder with its classifier.
    /// Weights that each run updates stay out: in training a BN or a gradient reads the map between anyway.
    /// </summary>
    public static FusedNodes? ConvWithTail(GraphIndex index, Node node)
    {
        if (node.Layer is not Conv2d { Kernel: 3 } || node.Outputs[0].Accumulate) return null;
        List<Node> nodes = [node];
        List<TensorView> inner = [];
        if (index.OnlyReader(node.Output) is { Layer: Relu } relu) Take(relu);
        if (index.OnlyReader(nodes[^1].Output) is not { Layer: Conv2d { Kernel: 1, Stride: 1 } } project) return null;
        if (project.Outputs[0].Accumulate || index.IsUpdated(node.Inputs[1]) || index.IsUpdated(project.Inputs[1])) return null;
        Take(project);
        if (index.OnlyReader(project.Output) is { Layer: Add } sum) Take(sum);
        return new FusedNodes([.. nodes], [.. inner]);

        void Take(Node next)
        {
            inner.Add(nodes[^1].Output);
            nodes.Add(next);
        }
    }

    /// <summary>The dilated branches of a DWR module, with the ReLU behind their joined map.</summary>
    public static FusedNodes? DepthwiseBranches(GraphIndex index, ImmutableArray<bool> constant, Node node)
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
        return nodes.Count == 1 ? null : new FusedNodes([.. nodes], [.. inner]);
    }

    /// <summary>
    /// The second half of a DWR module: <see cref="DepthwiseBranches"/>, the 1x1 convolution that alone reads their joined map, and the ReLU
    /// and sum behind it.
    /// </summary>
    public static FusedNodes? SemanticResiduals(GraphIndex index, ImmutableArray<bool> constant, Node node)
    {
        if (DepthwiseBranches(index, constant, node) is not { } branches) return null;
        Tensor joined = branches.Nodes[^1].Output.Tensor;
        if (index.OnlyReader(joined) is not { Layer: Conv2d { Kernel: 1, Stride: 1 } } project || project.Outputs[0].Accumulate) return null;
        if (branches.Nodes.Where(n => n.Layer is DepthwiseConv).Sum(n => n.Output.Channels) != joined.Shape.C || index.IsUpdated(project.Inputs[1])) return null;
        FusedNodes tail = ConvChain(index, project) ?? new FusedNodes([project], []);
        return new FusedNodes([.. branches.Nodes, .. tail.Nodes], [.. branches.Inner, joined, .. tail.Inner]);
    }

    /// <summary>Every weight update of the graph: one by one they are too small for a device.</summary>
    public static FusedNodes? AllUpdates(GraphIndex index, Node node) =>
        node.Layer is SgdUpdate ? new FusedNodes([.. index.Graph.Nodes.Where(n => n.Layer is SgdUpdate)], []) : null;
}
