using DwrSeg.Native.Graph;
using DwrSeg.Native.Tests.Backends;
using DwrSeg.Native.Tests.Oracle;
using Xunit;

namespace DwrSeg.Native.Tests.Graph.Passes;

/// <summary>Runs a graph and what a pass made of it on the oracle.</summary>
internal static class PassCheck
{
    // Float64 rounding of two orders of the same sums.
    private const double Tolerance = 1e-12;

    /// <summary>Applies the pass; every output must stay, by name, and keep its values. Returns the rewritten graph.</summary>
    public static LayerGraph AssertExact(LayerGraph before, Func<LayerGraph, LayerGraph> pass, int seed = 1)
    {
        LayerGraph after = pass(before);
        Assert.Equal(before.Outputs.Select(o => o.Name), after.Outputs.Select(o => o.Name));
        Dictionary<string, float[]> values = RandomValues.For(before, seed).ToDictionary(v => v.Key.Name, v => v.Value);
        using OraclePlan expected = Run(before, values), found = Run(after, values);
        foreach ((Tensor was, Tensor isNow) in before.Outputs.Zip(after.Outputs))
        {
            double[] a = expected.Read(was).Data, b = found.Read(isNow).Data;
            double scale = a.Max(Math.Abs);
            for (int i = 0; i < a.Length; i++)
                Assert.True(Math.Abs(a[i] - b[i]) <= Tolerance * scale, $"{was}[{i}] was {a[i]:g17} and is {b[i]:g17} (largest {scale:g3}, seed {seed}).");
        }
        return after;
    }

    private static OraclePlan Run(LayerGraph graph, Dictionary<string, float[]> values)
    {
        var store = new OracleStore();
        OraclePlan plan = new OracleBackend().Compile(graph, store);
        foreach (Tensor tensor in graph.Stored) store.Write(tensor.Name, values[tensor.Name]);
        foreach (Tensor input in graph.Inputs) plan.Write(input, values[input.Name]);
        plan.Prepare();
        plan.Run();
        return plan;
    }
}
