namespace DwrSeg.Native.Graph.Passes;

/// <summary>Removes layers that no output and no update of a stored tensor depends on.</summary>
internal static class DropDeadLayers
{
    public static LayerGraph Apply(LayerGraph graph)
    {
        var needed = new ChannelSet[graph.Tensors.Length];
        for (int i = 0; i < needed.Length; i++) needed[i] = new ChannelSet();
        foreach (Tensor output in graph.Outputs) needed[output.Id].Add(0, output.Shape.C);
        var live = new HashSet<Node>(ReferenceEqualityComparer.Instance);
        foreach (Node node in graph.Nodes.Reverse())
        {
            bool isLive = node.Outputs.Any(o => o.View.Tensor.Alias is not null || needed[o.View.Tensor.Id].Touches(o.View.Channel, o.View.Channels));
            if (!isLive) continue;
            live.Add(node);
            foreach (TensorView input in node.Inputs) needed[input.Tensor.Id].Add(input.Channel, input.Channels);
        }
        var edit = new GraphEdit(graph);
        edit.Nodes.RemoveAll(n => !live.Contains(n));
        return edit.Rebuild();
    }
}
