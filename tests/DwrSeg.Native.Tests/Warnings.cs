using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;

namespace DwrSeg.Native.Tests;

/// <summary>What the library has warned of in this process, whichever test made it.</summary>
internal sealed class Warnings : TraceListener
{
    private static readonly Warnings Instance = new();

    private readonly ConcurrentQueue<string> _messages = [];

    private Warnings()
    {
    }

    /// <summary>Begins to listen.</summary>
    public static void Listen()
    {
        lock (Instance)
        {
            if (!Trace.Listeners.Contains(Instance)) Trace.Listeners.Add(Instance);
        }
    }

    /// <summary>Those that contain a text.</summary>
    public static IReadOnlyList<string> With(string text) => [.. Instance._messages.Where(m => m.Contains(text, StringComparison.Ordinal))];

    public override void Write(string? message)
    {
    }

    public override void WriteLine(string? message)
    {
    }

    public override void TraceEvent(TraceEventCache? eventCache, string source, TraceEventType eventType, int id, string? message) =>
        _messages.Enqueue(message ?? "");

    public override void TraceEvent(
        TraceEventCache? eventCache, string source, TraceEventType eventType, int id, string? format, params object?[]? args) =>
        _messages.Enqueue(string.Format(CultureInfo.InvariantCulture, format ?? "", args ?? []));
}
