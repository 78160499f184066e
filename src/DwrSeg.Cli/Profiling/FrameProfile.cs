using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Backends.Cuda.Profiling;

namespace DwrSeg.Cli.Profiling;

/// <summary>What to profile.</summary>
/// <param name="Model">The network.</param>
/// <param name="Height">Its input's rows.</param>
/// <param name="Width">Its input's columns.</param>
/// <param name="Image">The image that goes in; null for noise of the input's size.</param>
/// <param name="Fuse">Which layers become one step.</param>
internal sealed record ProfileSettings(ModelChoice Model, int Height, int Width, string? Image, Fusion Fuse = Fusion.Auto);

/// <summary>A frame, launch by launch.</summary>
/// <param name="Settings">What was profiled.</param>
/// <param name="Device">The device's name.</param>
/// <param name="Description">The device, for people.</param>
/// <param name="Precision">What it computed in.</param>
/// <param name="TimeSource">Where the times in <see cref="LaunchRow.Seconds"/> come from; empty where there are none.</param>
/// <param name="Launches">Preprocessing, the plan's steps and the class map, in their order.</param>
internal sealed record FrameProfile(
    ProfileSettings Settings, string Device, string Description, string Precision, string TimeSource, IReadOnlyList<LaunchRow> Launches)
{
    /// <summary>The card that times are held against or expected on; null on the CPU.</summary>
    public GpuLimits? Gpu { get; init; }

    /// <summary>Who computes dense convolutions; null on the CPU.</summary>
    public ConvolutionCounts? Convolutions { get; init; }

    /// <summary>Seconds of a whole frame, measured as one.</summary>
    public double? FrameSeconds { get; init; }

    /// <summary>Where <see cref="LaunchRow.FrameSeconds"/> come from, or why they are missing; empty where nobody asked.</summary>
    public string TraceSource { get; init; } = "";

    /// <summary>Seconds from the first kernel's start to the last one's end, as recorded.</summary>
    public double? TracedSeconds { get; init; }

    /// <summary>Bytes a second of a copy within the device's memory, measured in the same run.</summary>
    public double? CopyRate { get; init; }

    /// <summary>Flops a second that this machine's processor was seen to reach; null elsewhere.</summary>
    public double? FmaPeak { get; init; }

    public long Bytes => Launches.Sum(l => l.Bytes);

    public long Flops => Launches.Sum(l => l.Flops);

    public double? Seconds => Sum(Launches, l => l.Seconds);

    public double? FloorSeconds => Sum(Launches, l => l.Model?.Floor);

    public double? ExpectedSeconds => Sum(Launches, l => l.Model?.Expected);

    /// <summary>Flops a second that the device's data sheet promises for what a launch computes with; null where it is not known.</summary>
    public double? PeakOf(LaunchRow row) => row.Work is null ? FmaPeak : 1e12 * (row.Work.UsesTensorCores ? Gpu?.TensorTflops : Gpu?.Fp32Tflops);

    /// <summary>The sum; null where one of the values is missing.</summary>
    public static double? Sum(IEnumerable<LaunchRow> rows, Func<LaunchRow, double?> value)
    {
        double sum = 0;
        foreach (LaunchRow row in rows)
        {
            if (value(row) is not { } number) return null;
            sum += number;
        }
        return sum;
    }
}
