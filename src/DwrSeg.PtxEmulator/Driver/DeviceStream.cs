using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.PtxEmulator.Driver;

/// <summary>A stream: its last operation, and the capture that it takes part in.</summary>
/// <param name="context">The context.</param>
/// <param name="isBlocking">It keeps the order of the legacy default stream.</param>
internal sealed class DeviceStream(EmulatedContext context, bool isBlocking) : IContextObject
{
    public EmulatedContext Context { get; } = context;

    public bool IsBlocking { get; } = isBlocking;

    public bool IsLegacy => ReferenceEquals(this, Context.Legacy);

    /// <summary>What was put on the stream last; null where that is done.</summary>
    public Operation? Tail
    {
        get => field is { IsDone: true } ? field = null : field;
        set;
    }

    /// <summary>The capture that records this stream's work; null while it runs.</summary>
    public StreamCapture? Capture { get; set; }

    /// <summary>Nodes that the next captured one comes after.</summary>
    public HashSet<int> Frontier { get; set; } = [];

    public CUstreamCaptureStatus CaptureStatus =>
        Capture is null ? CUstreamCaptureStatus.None : Capture.IsInvalid ? CUstreamCaptureStatus.Invalidated : CUstreamCaptureStatus.Active;
}
