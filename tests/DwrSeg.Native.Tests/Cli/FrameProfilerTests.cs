using System.Text.Json;
using DwrSeg.Cli;
using DwrSeg.Cli.Profiling;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Backends.Cuda.Profiling;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Cuda.Libraries;
using DwrSeg.Native.Tests.Cuda;
using DwrSeg.Native.Tests.Cuda.Libraries;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Cli;

/// <summary>
/// Timing a frame launch by launch as on a CUDA device, here on the emulator's, whose times are its host's. Alone, since it reads what is written
/// to the console.
/// </summary>
[Collection(nameof(RunsAlone))]
public sealed class FrameProfilerTests
{
    [Fact]
    public void AFrameThatFailsWhileItIsRecordedIsAFailure()
    {
        TestNvrtc.Require();
        using TemporaryFolder folder = new();
        var settings = new ProfileSettings(ModelChoice.Open(SmallModel.Save(folder.File("model.safetensors"))), 16, 24, Image: null);
        var timing = new LaunchTimerOptions { Batches = 1, BatchSeconds = 0, LeastReplays = 1, MostReplays = 1, CopyBytes = 1 << 12 };
        using var emulator = new EmulatedDriver(90);
        var faulty = FaultInjectingDriver.Wrap(emulator);
        using var backend = new CudaBackend("emulated", faulty.Driver, 0, CudaElement.Float16, wantsPtx: true);
        CuptiDouble.Records = [];
        FrameProfile Measure() => FrameProfiler.Measure(backend, settings, timing, new PlanOptions { Guarded = true }, CuptiDouble.Create());
        Measure();
        faulty.Reset();
        Assert.Contains("recorded no kernel", Measure().TraceSource, StringComparison.Ordinal);
        int launches = faulty.Calls.Count(c => c == nameof(ICudaDriver.GraphLaunch));
        faulty.Reset();
        faulty.FailCall(nameof(ICudaDriver.GraphLaunch), launches - 1, CUresult.Unknown);
        Assert.Equal("cuGraphLaunch", Assert.Throws<CudaException>(Measure).Call);
    }

    [Fact]
    public void RecordsGiveEachLaunchItsTimeWithinTheFrame()
    {
        TestNvrtc.Require();
        using TemporaryFolder folder = new();
        ModelChoice model = ModelChoice.Open(SmallModel.Save(folder.File("model.safetensors")));
        var settings = new ProfileSettings(model, 16, 24, Image: null);
        var timing = new LaunchTimerOptions { Batches = 1, BatchSeconds = 0, LeastReplays = 1, MostReplays = 1, CopyBytes = 1 << 12 };
        using var backend = new CudaBackend("emulated", new EmulatedDriver(90), 0, CudaElement.Float16, wantsPtx: true);
        var guarded = new PlanOptions { Guarded = true };
        FrameProfile without = FrameProfiler.Measure(backend, settings, timing, guarded);
        Assert.All(without.Launches, row => Assert.Null(row.FrameSeconds));
        Assert.Contains("no CUPTI", without.TraceSource, StringComparison.Ordinal);

        string[] kernels = [.. without.Launches.Select(l => l.Launch!.Variant.Name)];
        CuptiDouble.Records =
        [
            .. Enumerable.Range(0, 2 * kernels.Length).Select(
                i => new KernelRecord(kernels[i % kernels.Length], 100ul * (ulong)i + 1, 100ul * (ulong)i + 41)),
        ];
        FrameProfile with = FrameProfiler.Measure(backend, settings, timing, guarded, CuptiDouble.Create());
        Assert.Contains("2 frames", with.TraceSource, StringComparison.Ordinal);
        Assert.All(with.Launches, row => Assert.Equal(40e-9, row.FrameSeconds!.Value, 1e-15));
        Assert.Equal((100.0 * (kernels.Length - 1) + 40) * 1e-9, with.TracedSeconds!.Value, 1e-13);
        string file = folder.File("profile.json");
        ProfileJson.Save(file, with);
        JsonElement json = JsonDocument.Parse(File.ReadAllBytes(file)).RootElement;
        Assert.Equal(0.04, json.GetProperty("launches")[0].GetProperty("inFrameUs").GetDouble());
        Assert.True(json.GetProperty("totals").GetProperty("tracedFrameUs").GetDouble() > 0);

        // Records that make no sense cost their column and nothing else.
        CuptiDouble.Records = [.. CuptiDouble.Records.Select(r => new KernelRecord(r.Name, r.End, r.Start))];
        FrameProfile damaged = FrameProfiler.Measure(backend, settings, timing, guarded, CuptiDouble.Create());
        Assert.Contains("of no use", damaged.TraceSource, StringComparison.Ordinal);
        Assert.All(damaged.Launches, row => Assert.True(row.FrameSeconds is null && row.Seconds > 0));

        CuptiDouble.Records = [];
        Assert.Contains("recorded no kernel", FrameProfiler.Measure(backend, settings, timing, guarded, CuptiDouble.Create()).TraceSource, StringComparison.Ordinal);
    }

    [Fact]
    public void EveryLaunchIsTimedAlone()
    {
        using TemporaryFolder folder = new();
        ModelChoice model = ModelChoice.Open(SmallModel.Save(folder.File("model.safetensors")));
        using var driver = new EmulatedDriver(90);
        FrameProfile profile;
        TestNvrtc.Require();
        using (var backend = new CudaBackend("emulated", driver, 0, CudaElement.Float16, wantsPtx: true))
        {
            var timing = new LaunchTimerOptions { Batches = 1, BatchSeconds = 0, LeastReplays = 1, MostReplays = 1, CopyBytes = 1 << 12 };
            profile = FrameProfiler.Measure(backend, new ProfileSettings(model, 24, 40, Image: null), timing, new PlanOptions { Guarded = true });
        }
        Assert.Equal(0, driver.Live.Allocations);
        Assert.Contains("no hardware", profile.TimeSource, StringComparison.Ordinal);
        Assert.Equal("preprocess", profile.Launches[0].Launch!.Variant.Name);
        Assert.Equal("argmax_head", profile.Launches[^1].Launch!.Variant.Name);
        Assert.All(profile.Launches, row =>
        {
            Assert.True(row.Seconds > 0 && row.Bytes > 0);
            Assert.Null(row.Counts);
            Assert.Null(row.Model!.Value.Expected);
            Assert.True(row.Occupancy!.Value.Blocks > 0);
        });
        // A variant's shared memory, where it does not depend on sizes, is what its launches ask for.
        Assert.All(profile.Launches, row => Assert.Equal(row.Launch!.SharedBytes, row.Launch.Variant.DynamicSharedBytes ?? row.Launch.SharedBytes));
        Assert.True(profile.FrameSeconds > 0 && profile.CopyRate > 0);

        string file = folder.File("profile.json");
        ProfileJson.Save(file, profile);
        JsonElement json = JsonDocument.Parse(File.ReadAllBytes(file)).RootElement, totals = json.GetProperty("totals");
        Assert.Equal(profile.Launches.Count, json.GetProperty("launches").GetArrayLength());
        double sum = json.GetProperty("launches").EnumerateArray().Sum(l => l.GetProperty("us").GetDouble());
        Assert.Equal(sum, totals.GetProperty("sumUs").GetDouble(), 1e-3);
        Assert.Equal(totals.GetProperty("frameUs").GetDouble() - sum, totals.GetProperty("differenceUs").GetDouble(), 1e-3);
        Assert.True(json.GetProperty("copyGBs").GetDouble() > 0);

        // Tables for a terminal do not go through the console's writer.
        if (Terminal.IsRich) return;
        string[] lines = Written(() =>
        {
            ProfileTables.WriteHead(profile);
            ProfileTables.WriteLaunches(profile);
            ProfileTables.WriteKernels(profile);
            ProfileTables.WriteTotals(profile);
        });
        Assert.Contains(lines, l => l.StartsWith("times", StringComparison.Ordinal) && l.EndsWith("no hardware", StringComparison.Ordinal));
        int head = Array.FindIndex(lines, l => l.StartsWith("step ", StringComparison.Ordinal));
        Assert.Contains("of copy", lines[head], StringComparison.Ordinal);
        Assert.Equal(
            profile.Launches.Select(r => r.Launch!.Variant.Name),
            lines[(head + 1)..].TakeWhile(l => l.Length > 0).Select(l => l.Split("  ", StringSplitOptions.RemoveEmptyEntries)[2].Trim()));
        Assert.Contains(lines, l => l.StartsWith("whole frame", StringComparison.Ordinal));
        Assert.Contains(lines, l => l.StartsWith("difference", StringComparison.Ordinal));
    }

    private static string[] Written(Action write)
    {
        TextWriter console = Console.Out;
        using var text = new StringWriter();
        Console.SetOut(text);
        try
        {
            write();
        }
        finally
        {
            Console.SetOut(console);
        }
        return text.ToString().ReplaceLineEndings("\n").Split('\n');
    }
}
