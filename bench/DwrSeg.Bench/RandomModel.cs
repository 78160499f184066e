using DwrSeg.Native;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;

namespace DwrSeg.Bench;

/// <summary>A segmenter with fresh weights.</summary>
internal static class RandomModel
{
    public static Segmenter Load(NetworkCase network, SegmenterOptions options)
    {
        using var store = new CpuStore();
        LayerGraph graph = DwrSegModel.Inference(network.Config, 1, network.Height, network.Width);
        ModelWeights.Initialize(graph, store, seed: 1);
        var writer = new SafetensorsWriter();
        var metadata = new ModelMetadata { Config = network.Config, Classes = ClassList.Cityscapes, InputSize = (network.Height, network.Width) };
        writer.Metadata[ModelMetadata.Key] = metadata.ToJson();
        ModelWeights.Save(writer, graph, store, batchesTracked: 0);
        string path = Path.GetTempFileName();
        try
        {
            writer.Save(path);
            return Segmenter.Load(path, options);
        }
        finally
        {
            File.Delete(path);
        }
    }
}
