namespace DwrSeg.Native.Graph.Passes;

/// <summary>The passes that every inference graph goes through, in their order.</summary>
internal static class InferencePasses
{
    public static LayerGraph Apply(LayerGraph graph) =>
        DropDeadLayers.Apply(FoldPointwiseConvs.Apply(FoldBatchNorms.Apply(PlaceBranches.Apply(graph))));
}
