using System.Collections.Immutable;

namespace DwrSeg.Native.Graph.Passes;

/// <summary>
/// Removes every <see cref="Concat"/>: the tensors that it joins become channel slices of the joined tensor, so that each branch writes its
/// slice. A branch that can't live there (a graph input or output, a slice, one that stands in two places) is copied into its slice.
/// </summary>
internal static class PlaceBranches
{
    public static LayerGraph Apply(LayerGraph graph)
    {
        var edit = new GraphEdit(graph);
        foreach (Node concat in graph.Nodes.Where(n => n.Layer is Concat))
        {
            Tensor joined = concat.Output.Tensor;
            int channel = concat.Output.Channel;
            var copies = ImmutableArray.CreateBuilder<Node>();
            foreach (TensorView branch in concat.Inputs)
            {
                var place = new TensorView(joined, channel, branch.Channels);
                channel += branch.Channels;
                Tensor tensor = branch.Tensor;
                bool isMovable = branch.IsWhole && tensor.Kind == TensorKind.Activation && tensor.Type == joined.Type
                    && !edit.IsOutput(tensor) && !edit.IsSubstituted(tensor);
                if (isMovable) edit.Substitute(tensor, place);
                else copies.Add(new Node($"{concat.Name}/copy:{place.Channel}", new Copy(), [branch], [new NodeOutput(place, false)]));
            }
            int position = edit.Nodes.IndexOf(concat);
            edit.Nodes.RemoveAt(position);
            edit.Nodes.InsertRange(position, copies);
        }
        return edit.Rebuild();
    }
}
