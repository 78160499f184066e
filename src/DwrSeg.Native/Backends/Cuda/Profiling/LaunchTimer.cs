using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Libraries;

namespace DwrSeg.Native.Backends.Cuda.Profiling;

/// <summary>How long and how often to measure.</summary>
internal sealed record LaunchTimerOptions
{
    /// <summary>Batches, of which the median counts.</summary>
    public int Batches { get; init; } = 9;

    /// <summary>What a batch should last at least, in seconds: long beside the start of a graph and the events' resolution.</summary>
    public double BatchSeconds { get; init; } = 2e-3;

    public int LeastReplays { get; init; } = 10;

    public int MostReplays { get; init; } = 500;

    /// <summary>Size of the copy that bandwidths are held against; large beside any L2.</summary>
    public long CopyBytes { get; init; } = 256 << 20;
}

/// <summary>
/// Times work on a stream by events around batches of replays, the median of several batches. A batch is captured as a CUDA graph, so that
/// short launches follow each other as closely as in a plan, at the device's pace and not the host's. All replays touch the same memory, so
/// caches are warm.
/// </summary>
internal sealed class LaunchTimer(CudaStream stream, LaunchTimerOptions options) : IDisposable
{
    private readonly CudaEvent _start = new(stream.Context), _end = new(stream.Context);

    /// <summary>Reads the milliseconds between two events that are reached.</summary>
    public Func<CudaEvent, CudaEvent, float> Elapsed { get; init; } = CudaEvent.ElapsedMilliseconds;

    /// <summary>Seconds of one launch, where replays overlap as launches of a frame do.</summary>
    /// <param name="name">The range that a profiler's time line shows.</param>
    /// <param name="work">The launch, or a library's call.</param>
    public double Measure(string name, CudaWork work)
    {
        using NvtxRange range = Nvtx.Instance.Begin(name);
        return MeasureCaptured(s =>
        {
            var sequence = new LaunchSequence(s);
            return () => sequence.Add(work);
        });
    }

    /// <summary>Seconds of work that can be captured.</summary>
    public double Measure(Action<CudaStream> work) => MeasureCaptured(s => () => work(s));

    /// <summary>Seconds of a run that holds launches of graphs itself and so cannot be captured.</summary>
    public double MeasureRuns(Action run)
    {
        run();
        double estimate = Between(run);
        int replays = (int)Math.Clamp(options.BatchSeconds / Math.Max(estimate, 1e-9), options.LeastReplays, options.MostReplays);
        return Median(() => Between(() =>
        {
            for (int i = 0; i < replays; i++) run();
        })) / replays;
    }

    /// <summary>Bytes a second, read and written, of a copy within the device's memory.</summary>
    public double MeasureCopy()
    {
        using var source = new CudaDeviceVariable<byte>(stream.Context, options.CopyBytes);
        using var target = new CudaDeviceVariable<byte>(stream.Context, options.CopyBytes);
        source.MemsetAsync(0, stream);
        return 2 * options.CopyBytes / MeasureRuns(() => target.CopyFromDeviceAsync(source, stream));
    }

    public void Dispose()
    {
        _start.Dispose();
        _end.Dispose();
    }

    // Takes a stream that captures, gives what is to be repeated on it.
    private double MeasureCaptured(Func<CudaStream, Action> work)
    {
        double estimate = WithGraph(work, options.LeastReplays, graph =>
        {
            Batch(graph);
            return Batch(graph);
        }) / options.LeastReplays;
        int replays = (int)Math.Clamp(options.BatchSeconds / Math.Max(estimate, 1e-9), options.LeastReplays, options.MostReplays);
        return WithGraph(work, replays, graph =>
        {
            Batch(graph);
            return Median(() => Batch(graph));
        }) / replays;

        double Batch(CudaGraphExec graph) => Between(() => graph.Launch(stream));
    }

    private double WithGraph(Func<CudaStream, Action> work, int replays, Func<CudaGraphExec, double> measure)
    {
        using CudaGraph graph = stream.Capture(s =>
        {
            Action once = work(s);
            for (int i = 0; i < replays; i++) once();
        });
        using CudaGraphExec exec = graph.Instantiate();
        return measure(exec);
    }

    private double Between(Action work)
    {
        _start.Record(stream);
        work();
        _end.Record(stream);
        _end.Synchronize();
        return Elapsed(_start, _end) / 1e3;
    }

    private double Median(Func<double> batch) => Statistics.Median([.. Enumerable.Range(0, options.Batches).Select(_ => batch()).Order()]);
}
