using DwrSeg.Native.Cuda;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// Times steps on the device against each other. Each is captured as a graph of several repetitions, as a plan will run it, so that neither the
/// host's time to launch nor an event's resolution counts; the graphs take turns, so that a clock that drifts favours none, and the median of a
/// graph's rounds is its time.
/// </summary>
/// <param name="stream">Where.</param>
/// <param name="repetitions">Repetitions in a graph.</param>
/// <param name="rounds">Times that each graph is timed.</param>
internal sealed class WorkTimer(CudaStream stream, int repetitions, int rounds) : IDisposable
{
    private readonly List<CudaGraphExec> _graphs = [];

    /// <summary>Adds a candidate, its works one after another, and runs it once so that no timed run is the first.</summary>
    /// <exception cref="CudaException">It fails, or can't be captured; it is then not among the candidates.</exception>
    public void Add(IReadOnlyList<CudaWork> works) => Add(s =>
    {
        var sequence = new LaunchSequence(s);
        for (int i = 0; i < repetitions; i++)
        {
            foreach (CudaWork work in works) sequence.Add(work);
        }
    });

    /// <summary>Adds a candidate that puts all repetitions on a stream that captures.</summary>
    /// <exception cref="CudaException">As above.</exception>
    public void Add(Action<CudaStream> capture)
    {
        using CudaGraph graph = stream.Capture(capture);
        CudaGraphExec captured = graph.Instantiate();
        try
        {
            captured.Launch(stream);
            stream.Synchronize();
        }
        catch
        {
            captured.Dispose();
            throw;
        }
        _graphs.Add(captured);
    }

    /// <summary>Milliseconds of each candidate.</summary>
    public IReadOnlyList<double> Milliseconds()
    {
        double[][] times = [.. _graphs.Select(_ => new double[rounds])];
        using var start = new CudaEvent(stream.Context);
        using var end = new CudaEvent(stream.Context);
        for (int round = 0; round < rounds; round++)
        {
            for (int i = 0; i < times.Length; i++)
            {
                start.Record(stream);
                _graphs[i].Launch(stream);
                end.Record(stream);
                end.Synchronize();
                times[i][round] = CudaEvent.ElapsedMilliseconds(start, end) / repetitions;
            }
        }
        return [.. times.Select(t => t.Order().ElementAt(rounds / 2))];
    }

    /// <summary>Gives a candidate away, for the caller to dispose.</summary>
    public CudaGraphExec Take(int index)
    {
        CudaGraphExec taken = _graphs[index];
        _graphs.RemoveAt(index);
        return taken;
    }

    public void Dispose()
    {
        foreach (CudaGraphExec graph in _graphs) graph.Dispose();
        _graphs.Clear();
    }
}
