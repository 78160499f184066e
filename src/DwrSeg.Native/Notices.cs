using System.Collections.Concurrent;
using System.Diagnostics;

namespace DwrSeg.Native;

/// <summary>
/// Tells, as a warning of <see cref="Trace"/>, of what ends no run and yet costs something. Each thing is told once a process.
/// </summary>
internal static class Notices
{
    private static readonly ConcurrentDictionary<string, bool> Told = new();

    /// <param name="about">What is told once.</param>
    /// <param name="message">A sentence for people.</param>
    public static void Tell(string about, string message)
    {
        if (Told.TryAdd(about, true)) Trace.TraceWarning(message);
    }
}
