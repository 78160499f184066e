namespace DwrSeg.PtxEmulator.Driver;

/// <summary>An event: what it was last recorded after.</summary>
/// <param name="context">The context.</param>
/// <param name="isTimed">It notes the time.</param>
internal sealed class DeviceEvent(EmulatedContext context, bool isTimed) : IContextObject
{
    public EmulatedContext Context { get; } = context;

    public bool IsTimed { get; } = isTimed;

    /// <summary>The place in a stream where it was last recorded; null where never, or where that was in a capture.</summary>
    public EventMark? Mark { get; set; }

    /// <summary>The place in a capture where it was last recorded.</summary>
    public CaptureMark? Captured { get; set; }
}

/// <summary>A place in a stream's order.</summary>
internal sealed class EventMark
{
    public Operation? Operation { get; set; }

    /// <summary>The context's clock when the stream came here.</summary>
    public long Ticks { get; set; }

    public bool IsReached => Operation is not { IsDone: false };
}

/// <summary>A place in a capture.</summary>
internal sealed record CaptureMark(StreamCapture Capture, IReadOnlyCollection<int> Frontier);
