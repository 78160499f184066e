using DwrSeg.Native.Autograd;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Oracle;
using Xunit;

namespace DwrSeg.Native.Tests.Models;

/// <summary>PyTorch's own results through the float64 oracle: shows that model, gradient rules and oracle mean what PyTorch means.</summary>
public sealed class GoldenOracleTests
{
    // What separates the two is PyTorch's fp32 rounding alone, so these are tighter than what an fp32 backend is asked for.
    private const double ForwardTolerance = 2e-5;
    private const double GradientTolerance = 2e-4;
    private const double UpdateTolerance = 5e-5;

    public static TheoryData<string> Files =>
        [.. Directory.EnumerateFiles(Path.Combine(AppContext.BaseDirectory, "golden"), "*.safetensors").Select(p => Path.GetFileName(p)).Order()];

    [Theory]
    [MemberData(nameof(Files))]
    public void OracleAgreesWithPyTorch(string file)
    {
        using SafetensorsFile golden = SafetensorsFile.Open(Path.Combine(AppContext.BaseDirectory, "golden", file));
        DwrSegConfig config = ModelMetadata.Read(golden).Config;
        int n = (int)golden["input"].Shape[0], height = (int)golden["input"].Shape[2], width = (int)golden["input"].Shape[3];
        using var store = new OracleStore();
        if (golden.Tensors.ContainsKey("loss")) CheckTraining();
        else CheckInference();

        void CheckInference()
        {
            LayerGraph graph = DwrSegModel.Inference(config, n, height, width, fullSize: true);
            Load(golden, graph, store);
            using OraclePlan plan = new OracleBackend().Compile(graph, store);
            WriteImage(plan);
            plan.Run();
            AssertClose("logits", ReadMap(golden, "logits", graph[DwrSegModel.FullLogits].Shape), plan.Read(graph[DwrSegModel.FullLogits]), ForwardTolerance);
        }

        void CheckTraining()
        {
            LayerGraph forward = DwrSegModel.Training(config, n, height, width, new OhemCrossEntropy(), keepLogits: true);
            DifferentiatedGraph differentiated = Differentiation.Differentiate(forward, forward[DwrSegModel.Loss]);
            LayerGraph graph = Sgd.Append(differentiated, 0.9f, 5e-4f, keepGradients: true);
            Load(golden, forward, store);
            using OraclePlan plan = new OracleBackend().Compile(graph, store);
            WriteImage(plan);
            long[] labels = new long[golden["labels"].ElementCount];
            golden.ReadInt64("labels", labels);
            plan.Write(graph[DwrSegModel.Labels], [.. labels.Select(l => (byte)l)]);
            plan.Write(graph[Sgd.LearningRate], [0.02f]);
            plan.Run();
            AssertClose("loss", ReadFloats(golden, "loss"), plan.Read(graph[DwrSegModel.Loss]).Data, ForwardTolerance, 0);
            AssertClose("logits", ReadMap(golden, "logits", graph[DwrSegModel.FullLogits].Shape), plan.Read(graph[DwrSegModel.FullLogits]), ForwardTolerance);
            (Tensor Parameter, double[] Expected, double[] Found)[] gradients = [.. differentiated.Gradients.Select(g =>
                (g.Key, ReadParameter(golden, "grad.", g.Key), plan.Read(g.Value).Data))];
            // A gradient that is zero in exact arithmetic is rounding noise in the file.
            double floor = 1e-4 * Math.Sqrt(gradients.Sum(g => g.Expected.Sum(v => v * v)));
            Assert.Equal(golden.Tensors.Keys.Count(k => k.StartsWith("grad.", StringComparison.Ordinal)), gradients.Length);
            foreach (var g in gradients) AssertClose($"grad.{g.Parameter.Name}", g.Expected, g.Found, GradientTolerance, floor);
            foreach (Tensor tensor in forward.Stored)
                AssertClose($"after.{tensor.Name}", ReadParameter(golden, "after.", tensor), store[tensor.Name].Data, UpdateTolerance, 0);
        }

        void WriteImage(OraclePlan plan)
        {
            Tensor image = plan.Graph[DwrSegModel.Image];
            plan.Write(image, ReadMap(golden, "input", image.Shape).Data);
        }
    }

    private static void Load(SafetensorsFile file, LayerGraph graph, OracleStore store)
    {
        foreach (Tensor tensor in graph.Stored) ModelWeights.LoadOne(file, "param." + tensor.Name, tensor, store);
    }

    private static double[] ReadFloats(SafetensorsFile file, string name)
    {
        float[] values = new float[file[name].ElementCount];
        file.ReadFloats(name, values);
        return [.. values.Select(v => (double)v)];
    }

    private static double[] ReadParameter(SafetensorsFile file, string prefix, Tensor tensor)
    {
        using var scratch = new OracleStore();
        ModelWeights.LoadOne(file, prefix + tensor.Name, tensor, scratch);
        return scratch[tensor.Name].Data;
    }

    private static Values ReadMap(SafetensorsFile file, string name, Shape shape)
    {
        file.Expect(name, shape.N, shape.C, shape.H, shape.W);
        double[] nchw = ReadFloats(file, name);
        var map = new Values(shape);
        for (int i = 0; i < nchw.Length; i++)
        {
            int x = i % shape.W, y = i / shape.W % shape.H, c = i / (shape.W * shape.H) % shape.C, n = i / (shape.W * shape.H * shape.C);
            map[n, y, x, c] = nchw[i];
        }
        return map;
    }

    private static void AssertClose(string name, Values expected, Values found, double tolerance) =>
        AssertClose(name, expected.Data, found.Data, tolerance, 0);

    private static void AssertClose(string name, double[] expected, double[] found, double tolerance, double floor)
    {
        double error = Math.Sqrt(expected.Zip(found, (e, f) => (e - f) * (e - f)).Sum());
        double scale = Math.Max(Math.Sqrt(expected.Sum(e => e * e)), floor);
        Assert.True(error <= tolerance * scale, $"{name}: relative error {error / scale:g3}, at most {tolerance:g3} is due to rounding.");
    }
}
