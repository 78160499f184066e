using DwrSeg.Native.Backends;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Tests.Oracle;
using Xunit;

namespace DwrSeg.Native.Tests.Backends;

/// <summary>Runs a graph on a backend and on the oracle and compares what they give.</summary>
internal static class BackendComparison
{
    /// <summary>
    /// Relative error ‖found − expected‖ / ‖expected‖ of one fp32 layer: sums of up to 3000 terms, whose rounding errors add up like a
    /// random walk (√3000 · 2⁻²⁴ ≈ 3e-6).
    /// </summary>
    public const double SingleLayer = 1e-5;

    /// <summary>The same for a chain of layers with a backward pass.</summary>
    public const double WholeNetwork = 1e-4;

    // Where a result is ill-conditioned (a gradient that cancels, a ReLU at its kink), rounding moves it further. How far, the oracle says
    // itself: it runs again with every value off by up to 16 roundings of fp32.
    private const double Noise = 1e-6;
    private const int NoisyRuns = 4;

    /// <summary>
    /// Fails with the worst tensor's name, error and place. Compares the outputs and all that the graph stores, and where every layer is a
    /// step with memory of its own (<see cref="PlanOptions.Guarded"/>, not <see cref="PlanOptions.Fuse"/>) every tensor. Runs the plan
    /// twice, with fresh values, so that what one run leaves behind does not help or harm the next.
    /// </summary>
    public static void Check(IBackend backend, LayerGraph graph, int seed, double tolerance = SingleLayer, PlanOptions? options = null)
    {
        using ITensorStore store = backend.CreateStore();
        using IPlan plan = backend.Compile(graph, store, options);
        bool comparesAll = options is { Guarded: true, Fuse: Fusion.None };
        for (int run = 0; run < 2; run++)
        {
            Dictionary<Tensor, float[]> values = RandomValues.For(graph, 2 * seed + run);
            Write(plan, store, values);
            plan.Prepare();
            plan.Run();
            using OracleStore exactStore = new();
            using OraclePlan exact = RunOracle(graph, exactStore, values, 0, 1);
            var noisy = new Lazy<OraclePlan[]>(
                () => [.. Enumerable.Range(1, NoisyRuns).Select(i => RunOracle(graph, new OracleStore(), values, Noise, i))]);
            List<Difference> differences = [];
            foreach (Tensor tensor in graph.Tensors)
            {
                if (tensor.Kind == TensorKind.Input || tensor.Alias is not null) continue;
                if (!tensor.IsStored && !comparesAll && !graph.Outputs.Contains(tensor)) continue;
                float[] found = new float[tensor.Shape.Elements];
                if (tensor.IsStored) store.Read(tensor.Name, found);
                else plan.Read(tensor, found);
                double[] expected = exact.Read(tensor).Data;
                double error = Distance(found, expected), allowed = tolerance * Norm(expected);
                if (error <= allowed) continue;
                foreach (OraclePlan other in noisy.Value) allowed = Math.Max(allowed, 2 * Distance(other.Read(tensor).Data, expected));
                if (!(error <= allowed)) differences.Add(new Difference(tensor, error, allowed, expected, found));
            }
            if (differences.Count == 0) continue;
            Difference worst = differences.MaxBy(d => double.IsNaN(d.Error) ? double.PositiveInfinity : d.Error / d.Allowed)!;
            Assert.Fail($"{backend.Name}, seed {seed}, run {run}: {worst}\n{differences.Count} tensors differ: "
                + $"{string.Join(", ", differences.Select(d => d.Tensor.Name))}\nThe graph:\n{string.Join('\n', graph.Nodes.Take(40))}");
        }
    }

    private static OraclePlan RunOracle(LayerGraph graph, OracleStore store, Dictionary<Tensor, float[]> values, double noise, int seed)
    {
        OraclePlan plan = new OracleBackend(noise, seed).Compile(graph, store);
        Write(plan, store, values);
        plan.Prepare();
        plan.Run();
        return plan;
    }

    private static void Write(IPlan plan, ITensorStore store, Dictionary<Tensor, float[]> values)
    {
        foreach ((Tensor tensor, float[] value) in values)
        {
            if (tensor.IsStored) store.Write(tensor.Name, value);
            else if (tensor.Type == ElementType.UInt8) plan.Write(tensor, [.. value.Select(v => (byte)v)]);
            else plan.Write(tensor, value);
        }
    }

    private static double Distance(float[] found, double[] expected) => Distance([.. found.Select(f => (double)f)], expected);

    private static double Distance(double[] found, double[] expected)
    {
        double sum = 0;
        for (int i = 0; i < expected.Length; i++) sum += Math.Pow(found[i] - expected[i], 2);
        return Math.Sqrt(sum);
    }

    private static double Norm(double[] values) => Math.Sqrt(values.Sum(v => v * v));

    private sealed record Difference(Tensor Tensor, double Error, double Allowed, double[] Expected, float[] Found)
    {
        public override string ToString()
        {
            int worst = Enumerable.Range(0, Found.Length).MaxBy(i => float.IsFinite(Found[i]) ? Math.Abs(Found[i] - Expected[i]) : double.PositiveInfinity);
            Shape s = Tensor.Shape;
            (int c, int x, int y, int n) = (worst % s.C, worst / s.C % s.W, worst / s.C / s.W % s.H, worst / s.C / s.W / s.H);
            double norm = Norm(Expected);
            return $"{Tensor} is off by {Error / norm:g3} of its norm, {Allowed / norm:g3} is due to rounding. "
                + $"Worst at image {n}, row {y}, column {x}, channel {c}: expected {Expected[worst]:g9}, found {Found[worst]:g9}.";
        }
    }
}
