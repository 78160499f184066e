using System.Diagnostics;

namespace DwrSeg.Native.Training;

/// <summary>A smoothed step time.</summary>
internal sealed class StepClock(int imagesPerStep)
{
    // Each step counts a tenth: steady enough to read, and quick to follow a change of the machine's load.
    private const double Share = 0.1;

    private long _last = Stopwatch.GetTimestamp();
    private double _seconds;

    public double ImagesPerSecond => _seconds > 0 ? imagesPerStep / _seconds : 0;

    /// <summary>A step has ended.</summary>
    public void Tick()
    {
        double seconds = Stopwatch.GetElapsedTime(_last).TotalSeconds;
        _seconds = _seconds > 0 ? _seconds + Share * (seconds - _seconds) : seconds;
        Restart();
    }

    /// <summary>What went by since the last step was none.</summary>
    public void Restart() => _last = Stopwatch.GetTimestamp();

    public TimeSpan TimeFor(long steps) => TimeSpan.FromSeconds(Math.Min(steps * _seconds, TimeSpan.FromDays(9999).TotalSeconds));
}
