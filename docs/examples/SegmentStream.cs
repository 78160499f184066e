using DwrSeg.Native;

namespace DwrSeg.Examples;

/// <summary>Frames of a source that takes its time, overlapped with their segmentation.</summary>
public static class SegmentStream
{
    /// <summary>Frames in work at a time, and buffers for them.</summary>
    private const int InFlight = 4;

    /// <param name="model">A weights file.</param>
    /// <param name="source">Fills a buffer with the next RGB frame; false at the end.</param>
    /// <param name="width">Pixels in a row.</param>
    /// <param name="height">Rows.</param>
    /// <param name="show">Takes a frame's class ids, valid during the call.</param>
    /// <param name="cancellation">Ends it.</param>
    public static async Task Run(
        string model, Func<byte[], Task<bool>> source, int width, int height, Action<ReadOnlyMemory<byte>> show, CancellationToken cancellation)
    {
        using Segmenter segmenter = Segmenter.Load(model);
        await foreach (Frame frame in segmenter.RunAsync(Frames(), InFlight, cancellation)) show(frame.Classes);

        async IAsyncEnumerable<Frame> Frames()
        {
            byte[] pixels = new byte[3 * width * height];
            byte[][] ring = [.. Enumerable.Range(0, InFlight).Select(_ => new byte[width * height])];
            for (int i = 0; await source(pixels); i++)
                yield return new Frame { Pixels = pixels, Width = width, Height = height, Classes = ring[i % InFlight] };
        }
    }
}
