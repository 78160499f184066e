namespace DwrSeg.Native.Graph.Passes;

/// <summary>
/// Removes <see cref="BatchNorm"/> layers: into the convolutions that write their input where these are linear and read by nothing else,
/// otherwise into the convolutions that read their output. The second way is exact at the border too: a 3x3 convolution pads the
/// <em>normalised</em> map with zeros, so its bias depends on which taps are inside (<see cref="Conv2d.BorderBias"/>). A BN that allows
/// neither stays.
/// </summary>
internal static class FoldBatchNorms
{
    public static LayerGraph Apply(LayerGraph graph)
    {
        var edit = new GraphEdit(graph);
        foreach (Node norm in NormsOf(edit)) FoldIntoWriters(edit, norm);
        foreach (Node norm in NormsOf(edit)) FoldIntoReaders(edit, norm);
        return edit.Rebuild();
    }

    private static List<Node> NormsOf(GraphEdit edit) => edit.Nodes.FindAll(n => n.Layer is BatchNorm);

    private static void FoldIntoWriters(GraphEdit edit, Node norm)
    {
        TensorView x = norm.Inputs[0], y = norm.Output;
        List<Node> writers = edit.Writers(x);
        bool isFoldable = writers.Count > 0 && writers.All(w => IsLinear(w) && x.Contains(w.Output)) && edit.Readers(x).Count == 1
            && writers.Sum(w => w.Output.Channels) == x.Channels && !edit.IsOutput(x.Tensor);
        if (!isFoldable) return;
        foreach (Node writer in writers)
        {
            int channel = writer.Output.Channel - x.Channel, channels = writer.Output.Channels;
            List<TensorView> inputs = [.. writer.Inputs.Skip(1), .. norm.Inputs.Skip(1).Select(v => v.Slice(channel, channels))];
            var fold = new FoldBatchNorm(writer.Layer is DepthwiseConv, writer.Inputs.Length == 3, ((BatchNorm)norm.Layer).Epsilon);
            Tensor[] folded = edit.InsertBefore(writer, $"{writer.Name}/folded", fold, [.. inputs]);
            edit.Replace(writer, writer with
            {
                Inputs = [writer.Inputs[0], folded[0], folded[1]],
                Outputs = [new NodeOutput(y.Slice(channel, channels), false)],
            });
        }
        edit.Nodes.Remove(norm);
    }

    private static void FoldIntoReaders(GraphEdit edit, Node norm)
    {
        TensorView x = norm.Inputs[0], y = norm.Output;
        List<Node> readers = edit.Readers(y);
        bool isFoldable = readers.Count > 0 && !edit.IsOutput(y.Tensor)
            && readers.All(r => r.Layer is Conv2d { BorderBias: false } conv && (conv.Kernel == 1 || conv.Stride == 1) && r.Inputs[0] == y);
        if (!isFoldable) return;
        foreach (Node reader in readers)
        {
            var conv = (Conv2d)reader.Layer;
            var fold = new FoldInputBatchNorm(reader.Inputs.Length == 3, ((BatchNorm)norm.Layer).Epsilon);
            Tensor[] folded = edit.InsertBefore(reader, $"{reader.Name}/input-folded", fold, [.. reader.Inputs.Skip(1), .. norm.Inputs.Skip(1)]);
            edit.Replace(reader, reader with { Layer = conv with { BorderBias = conv.Kernel == 3 }, Inputs = [x, folded[0], folded[1]] });
        }
        edit.Nodes.Remove(norm);
    }

    private static bool IsLinear(Node node) => node.Layer is Conv2d { BorderBias: false } or DepthwiseConv && !node.Outputs[0].Accumulate;
}
