using System.Diagnostics;
using Spectre.Console;

namespace DwrSeg.Cli;

/// <summary>Draws a progress bar from the threads that report, at most ten times a second.</summary>
/// <remarks>
/// For a bar with <c>AutoRefresh(false)</c>. The thread that the library would draw from is never ended where the work is over before that thread
/// first ran: it then draws into whatever comes next.
/// </remarks>
internal sealed class ProgressDrawing(ProgressContext context)
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(100);
    private readonly Lock _gate = new();
    private long _last;

    /// <summary>To be called after each change of a task.</summary>
    public void Changed()
    {
        lock (_gate)
        {
            if (_last != 0 && Stopwatch.GetElapsedTime(_last) < Interval) return;
            _last = Stopwatch.GetTimestamp();
            context.Refresh();
        }
    }
}
