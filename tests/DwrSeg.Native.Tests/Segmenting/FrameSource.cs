using System.Runtime.CompilerServices;
using DwrSeg.Native.Tests.Models;

namespace DwrSeg.Native.Tests.Segmenting;

/// <summary>Frames of a few sizes and formats, and asynchronous sources of them.</summary>
internal static class FrameSource
{
    private static readonly (int Width, int Height)[] Sizes = [(48, 32), (48, 32), (31, 40), (48, 32), (40, 31)];

    /// <summary>A frame with memory of its own, which is not that of any other number.</summary>
    public static Frame Frame(int number)
    {
        (int width, int height) = Sizes[number % Sizes.Length];
        return Frame(number, width, height, withConfidence: number % 3 != 1);
    }

    public static Frame Frame(int number, int width, int height, bool withConfidence = true)
    {
        byte[] classes = new byte[width * height], confidence = new byte[withConfidence ? classes.Length : 0];
        Array.Fill(classes, (byte)0xEE);
        return new Frame
        {
            Pixels = SmallModel.Picture(width, height, number), Width = width, Height = height,
            Format = number % 2 == 0 ? PixelFormat.Rgb : PixelFormat.Bgr, Classes = classes, Confidence = confidence,
        };
    }

    public static IReadOnlyList<Frame> Frames(int count) => [.. Enumerable.Range(0, count).Select(Frame)];

    /// <summary>What one run after the other gives for a frame.</summary>
    public static (byte[] Classes, byte[] Confidence) Expected(Segmenter segmenter, in Frame frame)
    {
        byte[] classes = new byte[frame.Classes.Length], confidence = new byte[frame.Confidence.Length];
        segmenter.Run(frame.Pixels.Span, frame.Width, frame.Height, frame.Width * 3, frame.Format, classes, confidence);
        return (classes, confidence);
    }

    /// <summary>A source that sometimes has a frame at once and sometimes lets others run first.</summary>
    public static async IAsyncEnumerable<Frame> Source(
        IEnumerable<Frame> frames, Action<int>? before = null, [EnumeratorCancellation] CancellationToken cancellation = default)
    {
        foreach ((int number, Frame frame) in frames.Index())
        {
            cancellation.ThrowIfCancellationRequested();
            if (number % 2 == 1) await Task.Yield();
            before?.Invoke(number);
            yield return frame;
        }
    }
}
