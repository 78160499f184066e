using DwrSeg.Native;

namespace DwrSeg.Examples;

/// <summary>Frames of a camera, painted in place without any allocation per frame.</summary>
public sealed class SegmentVideo(string model, int width, int height) : IDisposable
{
    private readonly Segmenter _segmenter = Segmenter.Load(model);
    private readonly byte[] _classes = new byte[width * height];
    private readonly byte[] _confidence = new byte[width * height];

    /// <summary>Paints the classes over a frame.</summary>
    /// <param name="frame">Blue, green, red and a fourth byte for each pixel.</param>
    /// <param name="rowBytes">Bytes from one row to the next.</param>
    /// <returns>How sure the network is, on average over the frame: 0 to 1.</returns>
    public double Paint(Span<byte> frame, int rowBytes)
    {
        _segmenter.Run(frame, width, height, rowBytes, PixelFormat.Bgra, _classes, _confidence);
        _segmenter.PaintOverlay(frame, width, height, rowBytes, PixelFormat.Bgra, _classes, frame);

        long sum = 0;
        foreach (byte confidence in _confidence) sum += confidence;
        return sum / (255.0 * _confidence.Length);
    }

    /// <summary>Frees the network's memory and threads.</summary>
    public void Dispose() => _segmenter.Dispose();
}
