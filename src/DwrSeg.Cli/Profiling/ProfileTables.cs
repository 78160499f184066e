using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Backends.Cuda.Profiling;
using static DwrSeg.Cli.Profiling.Format;

namespace DwrSeg.Cli.Profiling;

/// <summary>A profile as tables for people.</summary>
internal static class ProfileTables
{
    /// <summary>What was profiled, on what.</summary>
    public static void WriteHead(FrameProfile profile)
    {
        ProfileSettings s = profile.Settings;
        var rows = new List<string[]>
        {
            new[] { "network", $"{s.Model.Name}, {s.Height}x{s.Width}, {profile.Precision}, fusions: {CommonOptions.NameOf(s.Fuse)}" },
            new[] { "device", $"{profile.Device}: {profile.Description}" },
        };
        if (profile.Convolutions is { } convolutions) rows.Add(["convolutions", convolutions.ToString()]);
        if (profile.TimeSource.Length > 0) rows.Add(["times", profile.TimeSource]);
        if (profile.TraceSource.Length > 0) rows.Add(["times in a frame", profile.TraceSource]);
        if (profile.Gpu is { } gpu)
        {
            rows.Add([
                profile.Seconds is null ? "expected on" : "limits",
                Text($"{gpu.Title}: memory {gpu.MemoryGBs:F0}, L2 {gpu.L2Rate / 1e9:F0} GB/s; fp32 {gpu.Fp32Tflops:F1}, mma {gpu.MmaTflops:F1} Tflop/s"),
            ]);
        }
        if (profile.CopyRate is { } copy) rows.Add(["copy on the device", Text($"{copy / 1e9:F1} GB/s")]);
        if (profile.FmaPeak is { } peak) rows.Add(["FMA peak", Text($"{peak / 1e9:F1} GFLOP/s")]);
        Terminal.WriteTable(["figure", ""], rows);
        Console.Out.WriteLine();
    }

    /// <summary>One line a launch: counts where the emulator counted, else times.</summary>
    public static void WriteLaunches(FrameProfile profile)
    {
        if (profile.Launches[0].Counts is not null) WriteCounts(profile);
        else if (profile.Gpu is not null) WriteDeviceTimes(profile);
        else WriteCpuTimes(profile);
        Console.Out.WriteLine();
    }

    /// <summary>One line a kernel, the sum of its launches.</summary>
    public static void WriteKernels(FrameProfile profile)
    {
        bool counted = profile.Launches[0].Counts is not null;
        string[] columns = counted ? ["sectors>", "L2 MB>", "stores>", "conflicts>", "floor us>", "expected us>"] : ["us>", "floor us>"];
        Terminal.WriteTable(
            ["kernel", "launches>", "MB>", "Mflop>", .. columns],
            [.. KernelSum.Of(profile).Select(k => (string[])
                [
                    k.Kernel, Number(k.Launches, "F0"), Megabytes(k.Bytes), Number(k.Flops / 1e6, "F1"),
                    .. k.Counts is { } c
                        ? (string[])[Ratio(c, k.Bytes), L2Megabytes(c), Percent(c.StoresFilled), Percent(c.ConflictShare)]
                        : [Microseconds(k.Seconds)],
                    Microseconds(k.FloorSeconds), .. counted ? (string[])[Microseconds(k.ExpectedSeconds)] : [],
                ])]);
        Console.Out.WriteLine();
    }

    /// <summary>The frame as a whole.</summary>
    public static void WriteTotals(FrameProfile profile)
    {
        var rows = new List<string[]>
        {
            new[] { "launches", Text($"{profile.Launches.Count}, {profile.Bytes / 1e6:F1} MB compulsory, {profile.Flops / 1e9:F3} Gflop") },
        };
        if (profile.FloorSeconds is { } floor) rows.Add(["floor", Text($"{1e6 * floor:F1} us, the launches' floors one after the other")]);
        if (profile.ExpectedSeconds is { } expected) rows.Add(["expected", Text($"{1e6 * expected:F1} us")]);
        if (profile.Seconds is { } sum) rows.Add(["sum of launches", Text($"{1e6 * sum:F1} us")]);
        if (profile.TracedSeconds is { } traced)
        {
            double kernels = profile.Launches.Sum(l => l.FrameSeconds ?? 0);
            rows.Add(["recorded frame", Text($"{1e6 * traced:F1} us, of which {1e6 * kernels:F1} us in kernels and {1e6 * (traced - kernels):F1} us between them")]);
        }
        if (profile.FrameSeconds is { } frame)
        {
            rows.Add(["whole frame", Text($"{1e6 * frame:F1} us")]);
            rows.Add(["difference", Text($"{1e6 * (frame - profile.Seconds):F1} us, {100 * (frame - profile.Seconds) / frame:F1} % of the frame")]);
            if (profile.FloorSeconds is { } least) rows.Add(["floor / frame", Percent(least / frame)]);
        }
        Terminal.WriteTable(["frame", ""], rows);
        if (profile.Launches[0].Counts is null) return;
        Console.Out.WriteLine();
        (LaunchRow Row, string Misses)[] misses =
            [.. profile.Launches.Select(r => (r, string.Join(", ", r.Misses()))).Where(m => m.Item2.Length > 0)];
        Console.Out.WriteLine(misses.Length == 0
            ? $"Every launch keeps the targets ({LaunchTargets.Text})."
            : $"{misses.Length} launches miss the targets ({LaunchTargets.Text}):");
        foreach ((LaunchRow row, string what) in misses) Console.Out.WriteLine($"  {row.Step} {row.Layer} ({row.Launch!.Variant.Name}): {what}");
    }

    private static void WriteCounts(FrameProfile profile) => Terminal.WriteTable(
        [
            "step", "layer", "kernel", "grid>", "block>", "shared>", "regs>", "blocks>", "MB>", "Mflop>", "flop/B>", "sectors>", "L2 MB>", "stores>",
            "accesses>", "conflicts>", "floor us>", "expected us>", "bound",
        ],
        [.. profile.Launches.Select(r => (string[])
            [
                r.Step, r.Layer, r.Launch!.Variant.Name, GridOf(r.Launch), r.Launch.Block.ToString(), Number(r.Launch.SharedBytes, "F0"),
                Number(r.Resources?.Registers, "F0"), Number(r.Occupancy?.Blocks, "F0"), Megabytes(r.Bytes), Number(r.Flops / 1e6, "F1"),
                Number((double)r.Flops / r.Bytes, "F1"), Ratio(r.Counts!, r.Bytes), L2Megabytes(r.Counts!),
                Percent(r.Counts!.StoresFilled), Number(r.Counts.SharedAccesses, "F0"), Percent(r.Counts.ConflictShare), Microseconds(r.Model?.Floor),
                Microseconds(r.Model?.Expected), r.Model?.Bound ?? None,
            ])]);

    private static void WriteDeviceTimes(FrameProfile profile) => Terminal.WriteTable(
        [
            "step", "layer", "kernel", "grid>", "block>", "shared>", "regs>", "blocks>", "limit", "us>", "in frame us>", "GB/s>", "of copy>", "Tflop/s>",
            "of peak>", "floor us>",
        ],
        [.. profile.Launches.Select(r => (string[])
            [
                r.Step, r.Layer, r.Work!.Call, r.Launch is { } launch ? GridOf(launch) : None, r.Launch?.Block.ToString() ?? None,
                Number(r.Launch?.SharedBytes, "F0"),
                Number(r.Resources?.Registers, "F0"), Number(r.Occupancy?.Blocks, "F0"), r.Occupancy?.Limit.ToString() ?? None, Microseconds(r.Seconds),
                Microseconds(r.FrameSeconds),
                Number(r.Bytes / r.Seconds / 1e9, "F1"), Percent(r.Bytes / r.Seconds / profile.CopyRate), Number(r.Flops / r.Seconds / 1e12, "F2"),
                Percent(r.Flops / r.Seconds / profile.PeakOf(r)), Microseconds(r.Model?.Floor),
            ])]);

    private static void WriteCpuTimes(FrameProfile profile) => Terminal.WriteTable(
        ["step", "layer", "ms>", "share>", "GB/s>", "GFLOP/s>", "of peak>"],
        [.. profile.Launches.Select(r => (string[])
            [
                r.Step, r.Layer, Milliseconds(r.Seconds), Percent(r.Seconds / profile.Seconds), Number(r.Bytes / r.Seconds / 1e9, "F1"),
                Number(r.Flops / r.Seconds / 1e9, "F1"), Percent(r.Flops / r.Seconds / profile.PeakOf(r)),
            ])]);

    // With the blocks of a cluster, where there are such.
    private static string GridOf(CudaLaunch launch) => launch.ClusterBlocks == 1 ? launch.Grid.ToString() : $"{launch.Grid} /{launch.ClusterBlocks}";

    private static string Megabytes(long bytes) => Number(bytes / 1e6, "F3");

    private static string L2Megabytes(LaunchCounts counts) => Megabytes(counts.BlockSectors * LaunchCounts.SectorBytes);

    private static string Ratio(LaunchCounts counts, long bytes) => Number(counts.SectorsPerCompulsory(bytes), "F2");
}

/// <summary>The launches of one kernel together.</summary>
internal sealed record KernelSum(
    string Kernel, int Launches, long Bytes, long Flops, LaunchCounts? Counts, double? Seconds, double? FloorSeconds, double? ExpectedSeconds)
{
    /// <summary>By kernel, in the order of their first launches.</summary>
    public static IEnumerable<KernelSum> Of(FrameProfile profile) => profile.Launches.GroupBy(r => r.Work!.Call).Select(k => new KernelSum(
        k.Key, k.Count(), k.Sum(r => r.Bytes), k.Sum(r => r.Flops), CountsOf([.. k]), FrameProfile.Sum(k, r => r.Seconds),
        FrameProfile.Sum(k, r => r.Model?.Floor), FrameProfile.Sum(k, r => r.Model?.Expected)));

    private static LaunchCounts? CountsOf(LaunchRow[] rows)
    {
        if (rows[0].Counts is null) return null;
        long Sum(Func<LaunchCounts, long> value) => rows.Sum(r => value(r.Counts!));
        return new LaunchCounts(
            Sum(c => c.LoadSectors), Sum(c => c.StoreSectors), Sum(c => c.BlockLoadSectors), Sum(c => c.BlockStoreSectors), Sum(c => c.StoredBytes),
            Sum(c => c.RequestStoreSectors), Sum(c => c.SharedAccesses), Sum(c => c.SharedPasses), Sum(c => c.SharedConflicts),
            Sum(c => c.WarpInstructions), Sum(c => c.MmaFlops), Sum(c => c.OtherFlops))
        {
            ClusterBytes = Sum(c => c.ClusterBytes), MulticastBytes = Sum(c => c.MulticastBytes),
        };
    }
}
