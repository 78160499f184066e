using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends;

/// <summary>
/// Frames on their way through plans of one backend: begun in an order and ended in the same, so that a device can copy one frame while it
/// computes another. A thread may begin frames while another ends them. Once a size is known, neither allocates.
/// </summary>
internal interface IFrameQueue : IDisposable
{
    /// <summary>
    /// Starts a frame: image in, network, class map at the image's size. The pixels have been read when it returns. The caller keeps others
    /// off the plan for as long as the call takes, and no more frames begun than the queue has room for.
    /// </summary>
    /// <param name="plan">An inference plan of the queue's backend; it may be another one for each frame.</param>
    /// <param name="input">The plan's (1, H, W, 3) input.</param>
    /// <param name="logits">Its output.</param>
    /// <param name="image">The pixels.</param>
    /// <param name="normalization">What the network expects of them.</param>
    /// <param name="withConfidence">Whether <see cref="End"/> is going to ask for confidences.</param>
    void Begin(IPlan plan, Tensor input, Tensor logits, in ImageView image, in Normalization normalization, bool withConfidence);

    /// <summary>Waits for the oldest frame and copies its class map, and where it was begun with them its confidences, to the caller.</summary>
    void End(Span<byte> classes, Span<byte> confidence);
}

/// <summary>The queue of a device on which frames do not overlap: a frame is computed where it is begun.</summary>
/// <param name="capacity">Frames that can be begun and not ended.</param>
internal sealed class SequentialFrameQueue(int capacity) : IFrameQueue
{
    private readonly Result[] _results = new Result[capacity];
    private int _begun, _ended;

    private struct Result
    {
        public byte[]? Classes, Confidence;
        public int Size;
    }

    public void Begin(IPlan plan, Tensor input, Tensor logits, in ImageView image, in Normalization normalization, bool withConfidence)
    {
        ref Result result = ref _results[_begun];
        result.Size = image.Width * image.Height;
        if (!(result.Classes?.Length >= result.Size)) result.Classes = new byte[result.Size];
        if (withConfidence && !(result.Confidence?.Length >= result.Size)) result.Confidence = new byte[result.Size];
        plan.WriteImage(input, 0, image, normalization);
        plan.Run();
        plan.ReadClasses(
            logits, 0, image.Height, image.Width, result.Classes.AsSpan(0, result.Size), withConfidence ? result.Confidence.AsSpan(0, result.Size) : default);
        _begun = (_begun + 1) % _results.Length;
    }

    public void End(Span<byte> classes, Span<byte> confidence)
    {
        ref Result result = ref _results[_ended];
        result.Classes.AsSpan(0, result.Size).CopyTo(classes);
        if (!confidence.IsEmpty) result.Confidence.AsSpan(0, result.Size).CopyTo(confidence);
        _ended = (_ended + 1) % _results.Length;
    }

    public void Dispose()
    {
    }
}
