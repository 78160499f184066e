namespace DwrSeg.Native.Graph.Passes;

/// <summary>
/// Folds a 1x1 convolution into the linear convolution before it where that takes no more multiplies. In DWRSeg this is the stem: its first
/// convolution (3x3x3, no activation) and the expansion after it become two convolutions of the image.
/// </summary>
internal static class FoldPointwiseConvs
{
    public static LayerGraph Apply(LayerGraph graph)
    {
        var edit = new GraphEdit(graph);
        foreach (Node second in graph.Nodes.Where(n => n is { Layer: Conv2d { Kernel: 1, Stride: 1 }, Inputs.Length: 3 }))
        {
            TensorView middle = second.Inputs[0];
            if (edit.Writers(middle) is not [{ Layer: Conv2d { BorderBias: false } conv, Inputs.Length: 3 } first] || first.Output != middle) continue;
            bool staysForOthers = edit.Readers(middle).Count > 1 || edit.IsOutput(middle.Tensor);
            long perOutput = first.Inputs[1].Shape.Elements / first.Output.Channels;
            long before = (long)middle.Channels * second.Output.Channels + (staysForOthers ? 0 : perOutput * middle.Channels);
            if (perOutput * second.Output.Channels > before) continue;
            Tensor[] folded = edit.InsertBefore(
                second, $"{second.Name}/pointwise-folded", new FoldPointwise(), first.Inputs[1], first.Inputs[2], second.Inputs[1], second.Inputs[2]);
            edit.Replace(second, second with { Layer = conv, Inputs = [first.Inputs[0], folded[0], folded[1]] });
        }
        return edit.Rebuild();
    }
}
