using DwrSeg.Native.Autograd;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;

namespace DwrSeg.Native.Evaluation;

/// <summary>How far one quantity of a golden file is from the recorded values.</summary>
/// <param name="Quantity">Logits, loss, gradients or updated parameters.</param>
/// <param name="Tensor">The tensor that is off most.</param>
/// <param name="Error">Its relative error; NaN where it holds a NaN.</param>
/// <param name="Tolerance">The largest error that passes.</param>
internal readonly record struct GoldenError(string Quantity, string Tensor, double Error, double Tolerance)
{
    public bool Passes => Error <= Tolerance;
}

/// <summary>The largest relative errors that pass. fp32 sums of up to 2880 terms in another order than PyTorch's stay well below.</summary>
internal sealed record GoldenTolerance(double Logits = 1e-4, double Loss = 1e-4, double Gradients = 1e-3, double Updated = 1e-4);

/// <summary>
/// Holds a backend against a golden file: PyTorch's weights, input and results of an inference (<c>logits</c>) or of one training step
/// (<c>loss</c>, <c>grad.*</c>, <c>after.*</c>), the network described by the file's metadata.
/// </summary>
internal static class GoldenCheck
{
    private const float LearningRate = 0.02f, Momentum = 0.9f, WeightDecay = 5e-4f;

    /// <summary>Runs the file's network. An error is ‖a − b‖ / ‖b‖, for a gradient with at least 1e-4 of all gradients' norm below: some are zero
    /// in exact arithmetic and PyTorch's value is rounding noise.</summary>
    /// <exception cref="WeightsFormatException">The file is not a sound golden file.</exception>
    public static IReadOnlyList<GoldenError> Run(SafetensorsFile file, IBackend backend, PlanOptions? options = null, GoldenTolerance? tolerance = null)
    {
        tolerance ??= new GoldenTolerance();
        ModelMetadata metadata = ModelMetadata.Read(file);
        SafetensorsEntry input = file["input"];
        if (input.Shape is not [> 0 and < 65536, 3, > 0 and < 65536, > 0 and < 65536])
            throw new WeightsFormatException(file.Name, "input", "must be N x 3 x H x W");
        var image = new Shape((int)input.Shape[0], (int)input.Shape[2], (int)input.Shape[3], 3);
        return file.Tensors.ContainsKey("loss")
            ? Training(file, metadata.Config, image, backend, options, tolerance)
            : Inference(file, metadata.Config, image, backend, options, tolerance);
    }

    private static List<GoldenError> Inference(
        SafetensorsFile file, DwrSegConfig config, Shape image, IBackend backend, PlanOptions? options, GoldenTolerance tolerance)
    {
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(config, image.N, image.H, image.W, fullSize: true));
        using ITensorStore store = backend.CreateStore();
        ModelWeights.Load(file, graph, store, "param.");
        using IPlan plan = backend.Compile(graph, store, options);
        plan.Write(graph[DwrSegModel.Image], ReadNhwc(file, "input", image));
        plan.Run();
        return [LogitsError(file, plan, tolerance)];
    }

    private static List<GoldenError> Training(
        SafetensorsFile file, DwrSegConfig config, Shape image, IBackend backend, PlanOptions? options, GoldenTolerance tolerance)
    {
        LayerGraph forward = DwrSegModel.Training(config, image.N, image.H, image.W, new OhemCrossEntropy(), keepLogits: true);
        DifferentiatedGraph differentiated = Differentiation.Differentiate(forward, forward[DwrSegModel.Loss]);
        LayerGraph graph = Sgd.Append(differentiated, Momentum, WeightDecay, keepGradients: true);
        using ITensorStore store = backend.CreateStore();
        ModelWeights.Load(file, graph, store, "param.");
        using IPlan plan = backend.Compile(graph, store, options);
        plan.Write(graph[DwrSegModel.Image], ReadNhwc(file, "input", image));
        plan.Write(graph[DwrSegModel.Labels], ReadLabels(file, image));
        plan.Write(graph[Sgd.LearningRate], [LearningRate]);
        plan.Run();

        var errors = new List<GoldenError> { LogitsError(file, plan, tolerance) };
        float[] loss = new float[1], expectedLoss = new float[1];
        plan.Read(graph[DwrSegModel.Loss], loss);
        file.ReadFloats("loss", expectedLoss);
        errors.Add(new GoldenError("loss", "loss", Distance(loss, expectedLoss, 0), tolerance.Loss));

        List<(Tensor Parameter, float[] Expected, float[] Found)> gradients = [];
        foreach ((Tensor parameter, Tensor gradient) in differentiated.Gradients.OrderBy(g => g.Key.Id))
        {
            float[] own = new float[gradient.Shape.Elements], found = new float[own.Length];
            plan.Read(graph[gradient.Name], own);
            ModelWeights.ToTorch(parameter, own, found);
            gradients.Add((parameter, ReadStored(file, "grad." + parameter.Name, parameter), found));
        }
        double floor = 1e-4 * Math.Sqrt(gradients.Sum(g => SquaredNorm(g.Expected)));
        errors.Add(Worst("gradients", gradients.Select(g => (g.Parameter.Name, Distance(g.Found, g.Expected, floor))), tolerance.Gradients));

        IEnumerable<(string, double)> updated = forward.Stored.Select(tensor =>
        {
            float[] own = new float[tensor.Shape.Elements], found = new float[own.Length];
            store.Read(tensor.Name, own);
            ModelWeights.ToTorch(tensor, own, found);
            return (tensor.Name, Distance(found, ReadStored(file, "after." + tensor.Name, tensor), 0));
        });
        errors.Add(Worst("updated", updated, tolerance.Updated));
        return errors;
    }

    private static GoldenError LogitsError(SafetensorsFile file, IPlan plan, GoldenTolerance tolerance)
    {
        Tensor logits = plan.Graph[DwrSegModel.FullLogits];
        float[] found = new float[logits.Shape.Elements];
        plan.Read(logits, found);
        return new GoldenError("logits", "logits", Distance(found, ReadNhwc(file, "logits", logits.Shape), 0), tolerance.Logits);
    }

    private static GoldenError Worst(string quantity, IEnumerable<(string Name, double Error)> errors, double tolerance)
    {
        (string name, double error) = errors.MaxBy(e => double.IsNaN(e.Error) ? double.PositiveInfinity : e.Error);
        return new GoldenError(quantity, name, error, tolerance);
    }

    private static double Distance(ReadOnlySpan<float> found, ReadOnlySpan<float> expected, double floor)
    {
        double difference = 0;
        for (int i = 0; i < found.Length; i++) difference += ((double)found[i] - expected[i]) * ((double)found[i] - expected[i]);
        double scale = Math.Max(Math.Sqrt(SquaredNorm(expected)), floor);
        return difference == 0 ? 0 : Math.Sqrt(difference) / scale;
    }

    private static double SquaredNorm(ReadOnlySpan<float> values)
    {
        double sum = 0;
        foreach (float value in values) sum += (double)value * value;
        return sum;
    }

    private static float[] ReadStored(SafetensorsFile file, string name, Tensor tensor)
    {
        file.Expect(name, ModelWeights.TorchShape(tensor).AsSpan());
        float[] values = new float[tensor.Shape.Elements];
        file.ReadFloats(name, values);
        return values;
    }

    private static float[] ReadNhwc(SafetensorsFile file, string name, Shape shape)
    {
        file.Expect(name, shape.N, shape.C, shape.H, shape.W);
        float[] nchw = new float[shape.Elements], nhwc = new float[shape.Elements];
        file.ReadFloats(name, nchw);
        int plane = shape.H * shape.W;
        for (int n = 0; n < shape.N; n++)
        {
            for (int c = 0; c < shape.C; c++)
            {
                ReadOnlySpan<float> from = nchw.AsSpan((n * shape.C + c) * plane, plane);
                for (int i = 0; i < plane; i++) nhwc[(n * plane + i) * shape.C + c] = from[i];
            }
        }
        return nhwc;
    }

    private static byte[] ReadLabels(SafetensorsFile file, Shape image)
    {
        file.Expect("labels", image.N, image.H, image.W);
        long[] wide = new long[image.Pixels];
        file.ReadInt64("labels", wide);
        byte[] labels = new byte[wide.Length];
        for (int i = 0; i < wide.Length; i++)
        {
            if (wide[i] is < 0 or > 255) throw new WeightsFormatException(file.Name, "labels", $"holds {wide[i]}; labels are 0 to 255");
            labels[i] = (byte)wide[i];
        }
        return labels;
    }
}
