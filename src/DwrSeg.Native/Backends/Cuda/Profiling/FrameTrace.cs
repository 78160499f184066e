using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Libraries;

namespace DwrSeg.Native.Backends.Cuda.Profiling;

/// <summary>
/// What each launch takes within a frame, with the caches that the launches before it leave: medians over several frames, from CUPTI's records.
/// </summary>
/// <param name="Seconds">
/// By launch of the frame, where launches overlap from the end of the one before it on; null for a library's call whose kernels can't be told from its neighbour's.
/// </param>
/// <param name="FrameSeconds">From the start of the first kernel to the end of the last.</param>
/// <param name="Frames">How many frames were recorded.</param>
internal sealed record FrameTrace(IReadOnlyList<double?> Seconds, double FrameSeconds, int Frames)
{
    private const int MostFrames = 20, WarmUpFrames = 3;

    /// <summary>Records frames.</summary>
    /// <exception cref="CudaException">CUPTI refuses, or its records are not those of the frame; the message says which.</exception>
    public static FrameTrace Record(Cupti cupti, CudaFrame frame)
    {
        for (int i = 0; i < WarmUpFrames; i++) frame.Run();
        frame.Stream.Synchronize();
        IReadOnlyList<KernelRecord> records = cupti.Record(() =>
        {
            for (int i = 0; i < MostFrames; i++) frame.Run();
            frame.Stream.Synchronize();
        });
        return Of(records, [.. frame.Launches.Select(l => l.Launch?.Variant.Name)]);
    }

    /// <summary>Gives records to launches.</summary>
    /// <param name="records">What ran, frame after frame.</param>
    /// <param name="kernels">The frame's kernels in their order; null where a library's call runs kernels of its own, none with our names.</param>
    /// <exception cref="CudaException">The records are no whole frames of these kernels.</exception>
    public static FrameTrace Of(IReadOnlyList<KernelRecord> records, IReadOnlyList<string?> kernels)
    {
        List<double?[]> frames = [];
        List<double> spans = [];
        int next = 0;
        while (next < records.Count)
        {
            int first = next;
            frames.Add(FrameOf(records, kernels, ref next));
            spans.Add((records[next - 1].End - records[first].Start) * 1e-9);
        }
        if (frames.Count == 0) throw new CudaException("CUPTI recorded no kernel of the frame; another profiler may have taken them.", "cuptiActivityFlushAll", -1, "");
        return new FrameTrace(
            [.. Enumerable.Range(0, kernels.Count).Select(i => frames.Any(f => f[i] is null) ? null : (double?)Statistics.Median([.. frames.Select(f => f[i]!.Value).Order()]))],
            Statistics.Median([.. spans.Order()]), frames.Count);
    }

    private static double?[] FrameOf(IReadOnlyList<KernelRecord> records, IReadOnlyList<string?> kernels, ref int next)
    {
        var seconds = new double?[kernels.Count];
        int first = next;
        for (int i = 0; i < kernels.Count;)
        {
            if (kernels[i] is { } name)
            {
                if (next == records.Count || records[next].Name != name)
                {
                    string found = next == records.Count ? "the end" : records[next].Name;
                    throw new CudaException($"CUPTI recorded {found} where the frame launches {name}: its records are not whole.", "cuptiActivityFlushAll", -1, "");
                }
                seconds[i++] = SecondsOf(records, first, next++);
                continue;
            }
            int calls = 1;
            while (i + calls < kernels.Count && kernels[i + calls] is null) calls++;
            string? end = i + calls < kernels.Count ? kernels[i + calls] : null;
            int start = next;
            while (next < records.Count && records[next].Name != end) next++;
            if (calls == 1) seconds[i] = Enumerable.Range(start, next - start).Sum(k => SecondsOf(records, first, k));
            else if (next - start == calls)
            {
                for (int k = 0; k < calls; k++) seconds[i + k] = SecondsOf(records, first, start + k);
            }
            i += calls;
        }
        return seconds;
    }

    // A launch that began before the one before it ended waited for that.
    private static double SecondsOf(IReadOnlyList<KernelRecord> records, int first, int index)
    {
        KernelRecord record = records[index];
        ulong start = index > first && records[index - 1].End > record.Start ? records[index - 1].End : record.Start;
        return record.End > start ? (record.End - start) * 1e-9 : 0;
    }
}
