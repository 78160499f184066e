using DwrSeg.Native.Cuda;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// Times steps on the device against each other. Each is captured as a graph of several repetitions, as a plan will run it, so that neither the
/// host's time to launch nor an event's resolution counts; the graphs take turns, so that a clock that drifts favours none, and the median of a
/// graph's rounds is its time.
/// </summary>
/// <param name="stream">Where.</param>
/// <param name="repetitions">repetitions in a graph.</param>
/// <param name="rounds">Times that each graph is timed, after one that is not.</param>
internal sealed class WorkTimer(CudaStream stream, int repetitions, int rounds)
{
    /// <summary>Milliseconds of each candidate, its works one after another.</summary>
    public IReadOnlyList<double> Milliseconds(IReadOnlyList<IReadOnlyList<CudaWork>> candidates)
    {
        var graphs = new List<CudaGraphExec>();
        var times = candidates.Select(_ => new double[rounds]).ToArray();
        using var start = new CudaEvent(stream.Context);
        using var end = new CudaEvent(stream.Context);
        try
        {
            foreach (IReadOnlyList<CudaWork> works in candidates)
            {
                using CudaGraph graph = stream.Capture(s =>
                {
                    for (int i = 0; i < repetitions; i++)
                    {
                        foreach (CudaWork work in works) work.Launch(s);
                    }
                });
                graphs.Add(graph.Instantiate());
                graphs[^1].Launch(stream);
            }
            for (int round = 0; round < rounds; round++)
            {
                for (int i = 0; i < graphs.Count; i++)
                {
                    start.Record(stream);
                    graphs[i].Launch(stream);
                    end.Record(stream);
                    end.Synchronize();
                    times[i][round] = CudaEvent.ElapsedMilliseconds(start, end) / repetitions;
                }
            }
            return [.. times.Select(t => t.Order().ElementAt(rounds / 2))];
        }
        finally
        {
            stream.Synchronize();
            foreach (CudaGraphExec graph in graphs) graph.Dispose();
        }
    }
}
