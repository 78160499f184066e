using System.Collections.Immutable;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cpu;

/// <summary>The steps that the CPU backend covers a graph with.</summary>
internal static class CpuCover
{
    private static readonly GraphCover.Rule<StepBinder, CpuStep>[] Rules =
    [
        (index, _, node) => Cover(FusionRules.ConvWithTail(index, node), CpuLowerings.BindConvolutionWithTail),
        (index, _, node) => Cover(FusionRules.ConvChain(index, node), CpuLowerings.BindConvolution),
        (index, constant, node) => Cover(FusionRules.DepthwiseBranches(index, constant, node), CpuLowerings.BindDepthwise),
        (index, _, node) => Cover(NormRelu(index, node), CpuLowerings.BindNorm),
        (index, _, node) => Cover(ReluNormGradient(index, node), CpuLowerings.BindNormGradient),
        AllUpdates,
    ];

    public static IReadOnlyList<StepCover<StepBinder, CpuStep>> Of(LayerGraph graph, bool fuse) =>
        GraphCover.Of(graph, fuse ? Rules : [], n => new StepCover<StepBinder, CpuStep>(CpuLowerings.NameOf(n), [n], [], CpuLowerings.For(n)));

    private static FusedNodes? NormRelu(GraphIndex index, Node node) =>
        node.Layer is BatchNorm or BatchNormTraining && index.OnlyReader(node.Output) is { Layer: Relu } relu
            ? new FusedNodes([node, relu], [node.Output]) : null;

    private static FusedNodes? ReluNormGradient(GraphIndex index, Node node) =>
        node.Layer is ReluGradient && !node.Outputs[0].Accumulate
            && index.OnlyReader(node.Output) is { Layer: BatchNormGradient } norm && norm.Inputs[4] == node.Output
            ? new FusedNodes([node, norm], [node.Output]) : null;

    private static StepCover<StepBinder, CpuStep>? AllUpdates(GraphIndex index, ImmutableArray<bool> constant, Node node) =>
        FusionRules.AllUpdates(index, node) is { } updates
            ? new StepCover<StepBinder, CpuStep>(CpuLowerings.NameOf(node), updates.Nodes, updates.Inner, CpuLowerings.BindUpdates) : null;

    private static StepCover<StepBinder, CpuStep>? Cover(FusedNodes? fused, Func<StepBinder, ImmutableArray<Node>, CpuStep> bind) =>
        fused is null ? null
            : new StepCover<StepBinder, CpuStep>(string.Join("+", fused.Nodes.Select(CpuLowerings.NameOf)), fused.Nodes, fused.Inner, bind);
}
