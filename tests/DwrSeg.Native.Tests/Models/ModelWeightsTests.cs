using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;
using Xunit;

namespace DwrSeg.Native.Tests.Models;

public sealed class ModelWeightsTests
{
    private static readonly LayerGraph Graph = DwrSegModel.Inference(SmallModel.Config, 1, 32, 32);

    [Fact]
    public void SavingAndLoadingKeepsEveryBit()
    {
        using CpuStore saved = Initialized(), loaded = new();
        ModelWeights.Load(FileOf(saved), Graph, loaded);
        foreach ((string name, Shape shape) in saved.Entries)
        {
            float[] a = new float[shape.Elements], b = new float[shape.Elements];
            saved.Read(name, a);
            loaded.Read(name, b);
            Assert.Equal(a, b);
        }
    }

    [Fact]
    public void TensorsHavePyTorchShapes()
    {
        using CpuStore store = Initialized();
        SafetensorsFile file = FileOf(store);
        Assert.Equal([4, 3, 3, 3], file["stem.conv.conv.weight"].Shape);
        Assert.Equal([16, 1, 3, 3], file["stage4.0.sr.0.weight"].Shape);
        Assert.Equal([4], file["decoder.classify.bias"].Shape);
        Assert.Empty(file["stem.conv.bn.num_batches_tracked"].Shape);
    }

    [Theory]
    [InlineData("stem.conv.conv.weight", "missing")]
    [InlineData("stage2.0.shortcut.bn.running_var", "missing")]
    public void MissingTensorIsNamed(string name, string expected) => ErrorOf(tensors => tensors.Remove(name), name, expected);

    [Fact]
    public void ExtraTensorIsNamed() =>
        ErrorOf(tensors => tensors.Add("stage9.0.weight", ([1], [0f])), "stage9.0.weight", "no such tensor");

    [Fact]
    public void MisshapenTensorSaysBothShapes() =>
        ErrorOf(tensors => tensors["decoder.classify.bias"] = ([5], new float[5]), "decoder.classify.bias", "expected shape");

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void ValuesThatAreNotFiniteAreRefused(float value) =>
        ErrorOf(tensors => tensors["decoder.classify.bias"].Values[2] = value, "decoder.classify.bias", "diverged");

    [Fact]
    public void InitialWeightsHaveKaimingDeviationAndDependOnTheSeedOnly()
    {
        LayerGraph graph = DwrSegModel.Inference(DwrSegConfig.Base(), 1, 32, 32);
        Tensor tensor = graph["decoder.conv.conv.weight"];
        float[] a = Fresh(graph, tensor, 1), again = Fresh(graph, tensor, 1), other = Fresh(graph, tensor, 2);
        Assert.Equal(a, again);
        Assert.NotEqual(a, other);
        // 368,640 samples: their deviation is within 1 % of √(2 / fan-in), eight standard errors.
        double deviation = Math.Sqrt(a.Average(v => (double)v * v));
        Assert.InRange(deviation / Math.Sqrt(2.0 / (9 * 320)), 0.99, 1.01);
        Assert.InRange(a.Average(v => (double)v) / deviation, -0.01, 0.01);
    }

    private static float[] Fresh(LayerGraph graph, Tensor tensor, ulong seed)
    {
        using var store = new CpuStore();
        ModelWeights.Initialize(graph, store, seed);
        float[] values = new float[tensor.Shape.Elements];
        store.Read(tensor.Name, values);
        return values;
    }

    private static CpuStore Initialized()
    {
        var store = new CpuStore();
        ModelWeights.Initialize(Graph, store, seed: 5);
        return store;
    }

    private static SafetensorsFile FileOf(CpuStore store)
    {
        var writer = new SafetensorsWriter();
        ModelWeights.Save(writer, Graph, store, batchesTracked: 7);
        var stream = new MemoryStream();
        writer.WriteTo(stream);
        return SafetensorsFile.Open(stream.ToArray(), "weights.safetensors");
    }

    private static void ErrorOf(Action<Dictionary<string, (long[] Shape, float[] Values)>> damage, string named, string expected)
    {
        using CpuStore store = Initialized();
        SafetensorsFile sound = FileOf(store);
        var tensors = new Dictionary<string, (long[] Shape, float[] Values)>();
        foreach ((string name, SafetensorsEntry entry) in sound.Tensors)
        {
            if (entry.DType != SafetensorsDType.F32) continue;
            float[] values = new float[entry.ElementCount];
            sound.ReadFloats(name, values);
            tensors.Add(name, ([.. entry.Shape], values));
        }
        damage(tensors);
        var writer = new SafetensorsWriter();
        foreach ((string name, (long[] shape, float[] values)) in tensors) writer.Add(name, SafetensorsDType.F32, shape, values);
        var stream = new MemoryStream();
        writer.WriteTo(stream);
        using CpuStore target = new();
        var error = Assert.Throws<WeightsFormatException>(
            () => ModelWeights.Load(SafetensorsFile.Open(stream.ToArray(), "weights.safetensors"), Graph, target));
        Assert.Equal(named, error.Tensor);
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }
}
