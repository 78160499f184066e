using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;

namespace DwrSeg.Native.Tests.Models;

/// <summary>Weights files of a network small enough to run in milliseconds.</summary>
internal static class SmallModel
{
    public static DwrSegConfig Config { get; } = new() { BaseChannels = 8, Classes = 4, Repeats = [1, 1, 1] };

    public static ClassList Classes { get; } = new(["sky", "house", "road", "car"]);

    /// <summary>Writes fresh weights, with or without what only shipped files have.</summary>
    public static string Save(string path, (int Height, int Width)? inputSize = null, bool withClasses = true)
    {
        using var store = new CpuStore();
        LayerGraph graph = DwrSegModel.Inference(Config, 1, 32, 32);
        ModelWeights.Initialize(graph, store, seed: 3);
        var writer = new SafetensorsWriter();
        var metadata = new ModelMetadata { Config = Config, Classes = withClasses ? Classes : null, InputSize = inputSize };
        writer.Metadata[ModelMetadata.Key] = metadata.ToJson();
        ModelWeights.Save(writer, graph, store, batchesTracked: 0);
        writer.Save(path);
        return path;
    }

    /// <summary>Writes fresh weights in which the first value of one tensor is another.</summary>
    public static string SaveWith(string path, string tensor, float value)
    {
        using var store = new CpuStore();
        LayerGraph graph = DwrSegModel.Inference(Config, 1, 32, 32);
        ModelWeights.Initialize(graph, store, seed: 3);
        float[] values = new float[graph[tensor].Shape.Elements];
        store.Read(tensor, values);
        values[0] = value;
        store.Write(tensor, values);
        var writer = new SafetensorsWriter();
        writer.Metadata[ModelMetadata.Key] = new ModelMetadata { Config = Config, Classes = Classes }.ToJson();
        ModelWeights.Save(writer, graph, store, batchesTracked: 0);
        writer.Save(path);
        return path;
    }

    /// <summary>Pixels with structure at several scales, so that the classes differ over the image.</summary>
    public static byte[] Picture(int width, int height, int seed = 0)
    {
        byte[] rgb = new byte[width * height * 3];
        var random = new Random(seed);
        for (int y = 0; y < height; y++)
        {
            for (int x = 0; x < width; x++)
            {
                for (int c = 0; c < 3; c++)
                {
                    double wave = 70 * Math.Sin((x * (c + 1) + seed * 5) * 0.13) + 50 * Math.Cos(y * (3 - c) * 0.11 + seed);
                    rgb[(y * width + x) * 3 + c] = (byte)Math.Clamp(128 + wave + random.Next(-8, 9), 0, 255);
                }
            }
        }
        return rgb;
    }
}
