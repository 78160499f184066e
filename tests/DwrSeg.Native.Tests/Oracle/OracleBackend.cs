using DwrSeg.Native.Backends;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Tests.Oracle;

/// <summary>
/// A backend whose only virtue is to be obviously right: float64, one plain nested loop per layer, every tensor in memory of its own that
/// is NaN until a layer writes it. The yardstick of all other backends.
/// </summary>
/// <param name="noise">Relative error of every value that a layer reads or writes, drawn uniformly from ±<paramref name="noise"/>: shows how
/// far rounding alone moves a graph's results.</param>
/// <param name="seed">Of the noise.</param>
internal sealed class OracleBackend(double noise = 0, int seed = 1) : IBackend
{
    public string Name => "oracle";

    public string Description => "float64 nested loops";

    public Precision Precision => Precision.Float32;

    public ITensorStore CreateStore() => new OracleStore();

    IPlan IBackend.Compile(LayerGraph graph, ITensorStore store, PlanOptions? options) => Compile(graph, (OracleStore)store);

    public OraclePlan Compile(LayerGraph graph, OracleStore? store = null) => new(graph, store ?? new OracleStore(), noise, seed);

    public void Dispose()
    {
    }
}
