using System.Collections.Immutable;
using System.Text;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// A piece of a graph as text that is the same for pieces that cost the same: layers, sizes, slices, and which views are of one tensor, but no names.
/// </summary>
internal static class PieceText
{
    public static string Of(LayerGraph graph, ImmutableArray<Node> nodes, ImmutableArray<TensorView> inner)
    {
        HashSet<Tensor> updated = [.. graph.Updated];
        var numbers = new Dictionary<Tensor, int>();
        var text = new StringBuilder();
        foreach (Node node in nodes)
        {
            text.Append(node.Layer).Append('(');
            foreach (TensorView input in node.Inputs) Append(input);
            text.Append(")>");
            foreach (NodeOutput output in node.Outputs)
            {
                Append(output.View);
                if (output.Accumulate) text.Append('+');
            }
            text.Append(';');
        }
        text.Append("inner ");
        foreach (TensorView view in inner) Append(view);
        return text.ToString();

        void Append(TensorView view)
        {
            Tensor tensor = view.Tensor.Alias ?? view.Tensor;
            if (!numbers.TryGetValue(tensor, out int number)) numbers.Add(tensor, number = numbers.Count);
            text.Append('t').Append(number).Append(':').Append(tensor.Shape).Append(tensor.IsStored ? "s" : "").Append(tensor.Type)
                .Append(updated.Contains(tensor) ? "u" : "").Append('[').Append(view.Channel).Append('+').Append(view.Channels).Append("] ");
        }
    }
}
