using System.Collections.Immutable;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>The steps that the CUDA backend covers a graph with, for one device and type.</summary>
internal sealed class CudaCover(CudaDevice device, CudaElement element)
{
    /// <summary>Stands for an address that is not known before there is memory; places in the arena are aligned like it.</summary>
    public const ulong AnyAddress = 1 << 20;

    // Those that take several convolutions.
    private GraphCover.Rule<CudaBinder, CudaStep>[] Modules(Fusion fuse) =>
    [
        // The image and folded weights are there before anything runs.
        (index, constant, node) => Cover(ImageConvolutions(index, constant, node), CudaLowerings.BindImageConvolutions, runsEarly: true),
        (index, _, node) => Cover(Sir(index, node, fuse), CudaLowerings.BindSir),
        (index, constant, node) => Cover(SemanticResiduals(index, constant, node), CudaLowerings.BindSemanticResiduals),
    ];

    private static GraphCover.Rule<CudaBinder, CudaStep>[] Single =>
    [
        (index, _, node) => Cover(FusionRules.ConvChain(index, node), CudaLowerings.BindConvolution),
        (index, constant, node) => Cover(FusionRules.DepthwiseBranches(index, constant, node), CudaLowerings.BindDepthwise),
        (index, _, node) => Cover(Resamplings(index, node), CudaLowerings.BindResize),
        AllUpdates,
    ];

    /// <param name="graph">The graph.</param>
    /// <param name="fuse">Which layers are joined into steps.</param>
    /// <param name="withModules">Also joins several convolutions into one step.</param>
    public IReadOnlyList<StepCover<CudaBinder, CudaStep>> Of(LayerGraph graph, Fusion fuse, bool withModules = true) => GraphCover.Of(
        graph, fuse == Fusion.None ? [] : withModules ? [.. Modules(fuse), .. Single] : Single,
        n => new StepCover<CudaBinder, CudaStep>(CudaLowerings.NameOf(n), [n], [], CudaLowerings.For(n)));

    /// <summary>The steps that do the same as one that takes several convolutions, or depth-wise branches and a convolution; null for others.</summary>
    public static IReadOnlyList<StepCover<CudaBinder, CudaStep>>? PartsOf(StepCover<CudaBinder, CudaStep> cover)
    {
        Node[] convs = [.. cover.Nodes.Where(n => n.Layer is Conv2d)];
        bool hasBranches = cover.Nodes.Any(n => n.Layer is DepthwiseConv);
        if (convs.Length == 0 || (convs.Length == 1 && !hasBranches)) return null;
        var parts = new List<StepCover<CudaBinder, CudaStep>>();
        int first = 0;
        for (int i = 1; i <= cover.Nodes.Length; i++)
        {
            if (i < cover.Nodes.Length && cover.Nodes[i].Layer is not Conv2d) continue;
            ImmutableArray<Node> nodes = cover.Nodes[first..i];
            // What the part's own nodes hand on is not written; what the next part reads is.
            ImmutableArray<TensorView> inner = [.. cover.Inner.Where(v => nodes.Any(n => n.Inputs.Any(v.Contains)) && nodes.Any(n => v.Contains(n.Output)))];
            parts.Add(new StepCover<CudaBinder, CudaStep>(
                string.Join("+", nodes.Select(CudaLowerings.NameOf)), nodes, inner,
                nodes[0].Layer is Conv2d ? CudaLowerings.BindConvolution : CudaLowerings.BindDepthwise) { RunsEarly = cover.RunsEarly });
            first = i;
        }
        return parts;
    }

    /// <summary>The ways in which a step of several convolutions can be one launch, by names to remember them by; the one taken without a choice is
    /// the first.</summary>
    public IReadOnlyDictionary<string, StepCover<CudaBinder, CudaStep>> ModulesOf(StepCover<CudaBinder, CudaStep> cover)
    {
        if (cover.Nodes.Count(n => n.Layer is Conv2d) != 2 || cover.Nodes.Any(n => n.Layer is DepthwiseConv) || IsOfImage(cover.Nodes[0]))
            return new Dictionary<string, StepCover<CudaBinder, CudaStep>> { ["fused"] = cover };
        CudaSir sir = CudaLowerings.SirOf(cover.Nodes, MapOf, ValuesOf).Sir;
        var modules = new Dictionary<string, StepCover<CudaBinder, CudaStep>>();
        foreach (int blocks in SirMmaCuda.ClusterSizes(device, sir))
            modules.Add($"fused {blocks}", modules.Count == 0 ? cover : cover with { Bind = (binder, nodes) => CudaLowerings.BindSir(binder, nodes, blocks) });
        return modules;
    }

    /// <summary>
    /// The kernels of this project that a step with convolutions may launch, in any way: of a module those that fuse it, the image's
    /// convolutions excepted, whose kernel is that of their parts.
    /// </summary>
    public IEnumerable<KernelVariant> VariantsOf(StepCover<CudaBinder, CudaStep> cover)
    {
        if (PartsOf(cover) is null) return CudaLowerings.VariantsFor(device, cover.Nodes, MapOf, ValuesOf);
        if (IsOfImage(cover.Nodes[0])) return [];
        return cover.Nodes.Any(n => n.Layer is DepthwiseConv)
            ? [DwrSrMmaCuda.VariantFor(device, CudaLowerings.SemanticResidualsOf(cover.Nodes, MapOf, ValuesOf).Projection)]
            : SirMmaCuda.VariantsFor(device, CudaLowerings.SirOf(cover.Nodes, MapOf, ValuesOf).Sir);
    }

    private FusedNodes? Sir(GraphIndex index, Node node, Fusion fuse)
    {
        if (FusionRules.ConvWithTail(index, node) is not { } fused) return null;
        // The kernel has the ReLU in the middle built in.
        if (fused.Nodes[1].Layer is not Relu) return null;
        CudaSir sir = CudaLowerings.SirOf(fused.Nodes, MapOf, ValuesOf).Sir;
        // Where the choice is by time, it is made between this and its parts.
        return SirMmaCuda.Fits(device, sir) && (fuse == Fusion.All || device.Driver.HasClock || SirMmaCuda.IsFaster(device, sir)) ? fused : null;
    }

    private FusedNodes? SemanticResiduals(GraphIndex index, ImmutableArray<bool> constant, Node node)
    {
        if (FusionRules.SemanticResiduals(index, constant, node) is not { } fused) return null;
        (CudaSrBranch[] branches, CudaConvolution projection, _, _) = CudaLowerings.SemanticResidualsOf(fused.Nodes, MapOf, ValuesOf);
        return DwrSrMmaCuda.Fits(device, branches, projection) ? fused : null;
    }

    /// <summary>
    /// The two 3x3 convolutions of stride 2 that read the image once the stem is folded, each perhaps with a ReLU, in one launch. Their biases
    /// must both be there or both be missing.
    /// </summary>
    private static FusedNodes? ImageConvolutions(GraphIndex index, ImmutableArray<bool> constant, Node node)
    {
        if (!IsOfImage(node) || node.Inputs[0].Tensor.Kind != TensorKind.Input) return null;
        Node? sibling = index.Graph.Nodes.FirstOrDefault(
            n => n != node && IsOfImage(n) && n.Inputs[0] == node.Inputs[0] && n.Inputs.Length == node.Inputs.Length);
        if (sibling is null || index.PositionOf(sibling) < index.PositionOf(node)) return null;
        if (!node.Inputs.Concat(sibling.Inputs).Skip(1).All(i => i.Tensor.Kind == TensorKind.Input || i.Tensor.IsStored || IsConstant(index, constant, i))) return null;
        List<Node> nodes = [];
        List<TensorView> inner = [];
        foreach (Node conv in new[] { node, sibling })
        {
            nodes.Add(conv);
            if (index.OnlyReader(conv.Output) is not { Layer: Relu } relu) continue;
            nodes.Add(relu);
            inner.Add(conv.Output);
        }
        return new FusedNodes([.. nodes], [.. inner]);
    }

    private static bool IsConstant(GraphIndex index, ImmutableArray<bool> constant, TensorView view) =>
        index.Graph.Nodes.Index().All(n => constant[n.Index] || n.Item.Outputs.All(o => o.View.Tensor != view.Tensor));

    /// <summary>Resamplings that follow each other and make maps of one size and one number of channels.</summary>
    private static FusedNodes? Resamplings(GraphIndex index, Node node)
    {
        if (node.Layer is not Resize || node.Outputs[0].Accumulate) return null;
        List<Node> nodes = [node];
        for (int i = index.PositionOf(node) + 1; i < index.Graph.Nodes.Length && nodes.Count < UpsampleCuda.MaxMaps; i++)
        {
            Node next = index.Graph.Nodes[i];
            bool isSibling = next.Layer is Resize && next.Output.Shape == node.Output.Shape && !next.Outputs[0].Accumulate
                && !nodes.Any(n => n.Output.Overlaps(next.Inputs[0]));
            if (!isSibling) break;
            nodes.Add(next);
        }
        return nodes.Count == 1 ? null : new FusedNodes([.. nodes], []);
    }

    private static StepCover<CudaBinder, CudaStep>? AllUpdates(GraphIndex index, ImmutableArray<bool> constant, Node node) =>
        FusionRules.AllUpdates(index, node) is { } updates
            ? new StepCover<CudaBinder, CudaStep>(CudaLowerings.NameOf(node), updates.Nodes, updates.Inner, CudaLossLowerings.BindUpdates) : null;

    private static bool IsOfImage(Node node) =>
        node.Layer is Conv2d { Kernel: 3, Stride: 2 } && node.Inputs[0].Channels == 3 && !node.Outputs[0].Accumulate;

    private DeviceMap MapOf(TensorView view)
    {
        Shape s = view.Tensor.Shape;
        return new DeviceMap(new CUdeviceptr(AnyAddress), element, s.N, s.H, s.W, s.C, s.C).Slice(view.Channel, view.Channels);
    }

    private static CUdeviceptr ValuesOf(TensorView view) => new CUdeviceptr(AnyAddress) + (ulong)view.Channel * sizeof(float);

    private static StepCover<CudaBinder, CudaStep>? Cover(FusedNodes? fused, Func<CudaBinder, ImmutableArray<Node>, CudaStep> bind, bool runsEarly = false) =>
        fused is null ? null
            : new StepCover<CudaBinder, CudaStep>(string.Join("+", fused.Nodes.Select(CudaLowerings.NameOf)), fused.Nodes, fused.Inner, bind)
            {
                RunsEarly = runsEarly,
            };
}
