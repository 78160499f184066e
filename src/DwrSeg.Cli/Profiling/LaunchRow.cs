using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Backends.Cuda.Profiling;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;

namespace DwrSeg.Cli.Profiling;

/// <summary>A launch of a frame (on the CPU a step) and what is known of it.</summary>
/// <param name="Step">What the step is, such as <c>conv3x3+relu</c>.</param>
/// <param name="Layer">Its first layer.</param>
/// <param name="Bytes">Compulsory traffic.</param>
/// <param name="Flops">Floating-point operations, a multiply-add counting two.</param>
internal sealed record LaunchRow(string Step, string Layer, long Bytes, long Flops)
{
    /// <summary>What a CUDA device does; null on the CPU.</summary>
    public CudaWork? Work { get; init; }

    /// <summary>Kernel, grid and block; null for a library's call and on the CPU.</summary>
    public CudaLaunch? Launch => Work as CudaLaunch;

    /// <summary>Registers and the like; null where no assembler told them.</summary>
    public KernelResources? Resources { get; init; }

    public Occupancy? Occupancy { get; init; }

    /// <summary>What the emulator counted.</summary>
    public LaunchCounts? Counts { get; init; }

    /// <summary>What the model says; null on the CPU.</summary>
    public LaunchTime? Model { get; init; }

    /// <summary>Measured seconds.</summary>
    public double? Seconds { get; init; }

    /// <summary>Seconds within a frame, among its neighbours; null where nothing recorded them.</summary>
    public double? FrameSeconds { get; init; }

    /// <summary>Where the emulator's counts are not what is aimed at; empty where all is well.</summary>
    public IEnumerable<string> Misses()
    {
        if (Counts is null) yield break;
        double sectors = Counts.SectorsPerCompulsory(Bytes);
        // Sums that blocks share pass through memory, which no launch is forced to.
        string shared = Launch?.Variant.Definitions.Contains("SPLIT=1", StringComparison.Ordinal) == true ? ", shared sums among them" : "";
        if (sectors > LaunchTargets.MostSectors) yield return Format.Text($"{sectors:F2} times the compulsory sectors{shared}");
        if (Counts.StoresFilled < LaunchTargets.LeastFilled) yield return Format.Text($"stores {100 * Counts.StoresFilled:F0} % filled");
        if (Counts.ConflictShare >= LaunchTargets.MostConflicts) yield return Format.Text($"{100 * Counts.ConflictShare:F1} % bank conflicts");
    }
}

/// <summary>What a kernel's memory behaviour is held against.</summary>
internal static class LaunchTargets
{
    /// <summary>Sectors once a launch, in compulsory ones.</summary>
    public const double MostSectors = 1.25;

    /// <summary>Bytes stored, in those of the sectors that stores touch.</summary>
    public const double LeastFilled = 0.9;

    /// <summary>Passes that bank conflicts add, in all passes through shared memory; it must be below.</summary>
    public const double MostConflicts = 0.05;

    public static string Text => Format.Text(
        $"sectors at most {MostSectors} x compulsory, stores at least {100 * LeastFilled:F0} % filled, conflicts below {100 * MostConflicts:F0} %");
}
