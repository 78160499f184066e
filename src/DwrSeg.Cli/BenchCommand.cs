using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using DwrSeg.Cli.Profiling;
using DwrSeg.Native;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Formats;

namespace DwrSeg.Cli;

/// <summary><c>dwrseg bench</c>: how fast a network runs, beside what the machine could do.</summary>
internal static class BenchCommand
{
    private const int SlowestSteps = 25;

    public static Command Create()
    {
        Option<string> model = ModelChoice.Option();
        Option<string?> config = ModelChoice.ConfigOption();
        Option<string> device = CommonOptions.Device();
        Option<int> threads = CommonOptions.Threads();
        Option<(int Height, int Width)?> size = CommonOptions.Size("Input size; default: the model file's own, else 512x1024.");
        Option<Precision> precision = CommonOptions.Precision();
        Option<ConvolutionChoice> convolutions = CommonOptions.Convolutions();
        Option<Fusion> fuse = CommonOptions.Fuse();
        Option<int> batch = new Option<int>("--batch") { Description = "Images a run.", HelpName = "N", DefaultValueFactory = _ => 1 }.InRange(1, 1024);
        Option<bool> train = new("--train") { Description = "Time a whole training step (forward, backward, update) instead of inference." };
        Option<double> seconds = new Option<double>("--seconds")
        {
            Description = "How long to measure, at least three runs.",
            HelpName = "S",
            DefaultValueFactory = _ => 5,
        }.Positive();
        Option<int?> iterations = new("--iterations") { Description = "Runs to measure, instead of --seconds.", HelpName = "N" };
        Option<bool> steps = new("--steps") { Description = "Also time every step of the plan, in as many runs of their own, and list the slowest (CPU)." };
        Option<string?> json = CommonOptions.JsonFile("Also write the figures as JSON to this file.");
        Option<string[]> peers = new("--peer-json")
        {
            Description = "Put other measurements of the same mode, size and batch beside this one, by the same clock: files of " +
                "bench/peers/dwrseg_torch.py or of bench --json.",
            HelpName = "FILE",
            AllowMultipleArgumentsPerToken = true,
        };
        var command = new Command(
            "bench",
            "Time a network. An inference goes from the normalised image in memory to the class map of the input's size. Flops are 2 x the " +
            "network's multiplies as the paper counts them, before any folding. The fraction of the FMA peak is that of the fastest run " +
            "against the best peak, measured on the same threads before, between and after the runs. On a CUDA device the same is also timed by " +
            "the device's events, from the normalised image in device memory to the class map in device memory, without the download. The first " +
            "frame's time runs from the beginning of loading, in this process.")
        {
            model, config, device, threads, precision, convolutions, fuse, size, batch, train, seconds, iterations, steps, json, peers,
        };
        command.Exclude(fuse, convolutions);
        command.Validators.Add(result =>
        {
            if (result.GetValue(iterations) is < 1) result.AddError("--iterations must be at least 1.");
        });
        command.SetAction(result =>
        {
            if (result.GetValue(json) is { } file) AtomicFile.RequireWritable(file);
            PeerRun[] others = [.. (result.GetValue(peers) ?? []).SelectMany(PeerRun.Read)];
            var loading = Stopwatch.StartNew();
            ModelChoice choice = ModelChoice.Open(result.GetValue(model)!, changes: result.GetValue(config));
            (int height, int width) = result.GetValue(size) ?? choice.InputSize ?? ModelChoice.DefaultSize;
            var settings = new BenchmarkSettings(
                choice, height, width, result.GetValue(batch), result.GetValue(train), result.GetValue(seconds), result.GetValue(iterations),
                result.GetValue(steps), result.GetValue(fuse));
            Precision wanted = result.GetValue(precision);
            if (settings.IsTraining)
            {
                if (wanted is not (Precision.Automatic or Precision.Float32))
                    throw new UsageException($"a training step is computed in fp32, not in {CommonOptions.NameOf(wanted)}: leave out --precision");
                wanted = Precision.Float32;
            }
            using IBackend backend = Devices.Open(
                result.GetValue(device)!, result.GetValue(threads), out string note, wanted, result.GetValue(convolutions));
            BenchmarkResult figures = Benchmark.Run(backend, settings, loading, Interruption.Token);
            Print(backend, note, settings, figures);
            if (others.Length > 0) PrintBeside(others, backend, settings, figures);
            if (result.GetValue(json) is { } path) Save(path, backend, settings, figures);
            return ExitCode.Ok;
        });
        return ExampleHelp.WithExamples(
            command, "dwrseg bench", "dwrseg bench --model large --size 768x1536 --json large.json", "dwrseg bench --train --batch 2 --size 360x480 --seconds 20");
    }

    private static void Print(IBackend backend, string note, BenchmarkSettings settings, BenchmarkResult result)
    {
        var rows = new List<string[]>
        {
            new[] { "network", $"{settings.Model.Name}, {settings.Mode}, batch {settings.Batch}, {settings.Height}x{settings.Width}" },
            new[] { "device", $"{backend.Name}: {backend.Description}{(note.Length == 0 ? "" : $" ({note})")}" },
            new[] { "runs", Text($"{result.Iterations} of {result.Multiplies / 1e9:F3} G multiplies in {result.Plan.Steps.Count} steps") },
            new[] { "per image", Text($"median {result.MedianMs:F2} ms, min {result.MinMs:F2} ms, p90 {result.P90Ms:F2} ms, p99 {result.P99Ms:F2} ms") },
            new[] { "throughput", Text($"{result.Fps:F2} images/s at the median") },
            new[] { "rate", Text($"{result.Gflops:F1} GFLOP/s at the fastest, {result.MedianGflops:F1} at the median") },
        };
        if (result.Device is { } onDevice)
        {
            string times = Text($"median {onDevice.MedianMs:F3} ms, min {onDevice.MinMs:F3} ms, p90 {onDevice.P90Ms:F3} ms, p99 {onDevice.P99Ms:F3} ms");
            rows.Add(["on the device", $"{times} by its events{(settings.IsTraining ? "" : ", class map included")}"]);
        }
        rows.Add(["first frame", Text($"{result.Loading.FirstFrameMs:F0} ms after loading began, ready after {result.Loading.ReadyMs:F0} ms")]);
        if (result.Loading.Caches is { } caches)
        {
            rows.Add([
                "kernel cache",
                $"{(caches.IsWarm ? "warm" : "cold")}: {caches.Compiled} kernels compiled, {caches.FromDisk} from the disk; " +
                $"{caches.ChoicesTimed} choices timed, {caches.ChoicesFromDisk} from the disk",
            ]);
        }
        if (result.Convolutions is { } convolutions) rows.Add(["convolutions", convolutions.ToString()]);
        if (result.FmaPeakGflops is { } peak)
            rows.Add(["FMA peak", Text($"{peak:F1} GFLOP/s, of which the fastest run reaches {100 * result.Gflops / peak:F1} %")]);
        rows.Add(["activations", Text($"{result.Plan.ArenaBytes / 1e6:F1} MB, {result.Plan.UnsharedBytes / 1e6:F1} MB without sharing")]);
        Terminal.WriteTable(["figure", ""], rows);
        if (result.StepTimes.Count == 0) return;
        Console.Out.WriteLine();
        Terminal.WriteTable(
            ["step", "ms>", "share>", "GFLOP/s>", "GB/s>"],
            [
                .. result.StepTimes.Take(SlowestSteps).Select(t => new[]
                {
                    t.Name, Text($"{t.Milliseconds:F3}"), Text($"{100 * t.Share:F1} %"), Text($"{t.Gflops:F1}"), Text($"{t.GigabytesPerSecond:F1}"),
                }),
            ]);
    }

    // Measurements of another network, mode, size or batch say nothing about this one; nor do times of another clock or content.
    private static void PrintBeside(PeerRun[] others, IBackend backend, BenchmarkSettings settings, BenchmarkResult result)
    {
        string size = Text($"{settings.Height}x{settings.Width}");
        DeviceTimes? device = result.Device;
        var ours = new PeerRun(
            $"dwrseg {settings.Model.Name} {CommonOptions.NameOf(backend.Precision)}", settings.Model.Name, backend.Name, settings.Mode, size, settings.Batch,
            new PeerTimes(result.MedianMs, result.MinMs, result.P99Ms, result.Scope),
            device is null ? null : new PeerTimes(device.MedianMs, device.MinMs, device.P99Ms, device.Scope));
        PeerRun[] comparable =
        [
            .. others.Where(o => (o.Mode, o.Size, o.Batch) == (ours.Mode, ours.Size, ours.Batch) && (o.Model.Length == 0 || o.Model == ours.Model)),
        ];
        ILookup<bool, PeerRun> byDevice = comparable.ToLookup(o => o.OnDevice is { } times && times.Scope == ours.OnDevice?.Scope);
        PrintTable($"By the devices' events, {ours.OnDevice?.Scope}:", byDevice[true], ours, r => r.OnDevice!);
        PrintTable($"By the host's clock, ours {ours.Host.Scope}:", byDevice[false], ours, r => r.Host);
        foreach (PeerRun other in byDevice[false].Where(o => o.Host.Scope.Length > 0 && o.Host.Scope != ours.Host.Scope))
            Console.Out.WriteLine($"{other.Name}: {other.Host.Scope}");
        int left = others.Length - comparable.Length;
        if (left > 0) Console.Out.WriteLine($"{left} left out: not {ours.Model}, {ours.Mode}, batch {ours.Batch}, {ours.Size}");
    }

    private static void PrintTable(string title, IEnumerable<PeerRun> others, PeerRun ours, Func<PeerRun, PeerTimes> timesOf)
    {
        if (!others.Any()) return;
        Console.Out.WriteLine();
        Console.Out.WriteLine(title);
        Terminal.WriteTable(
            ["run", "device", "median ms>", "min ms>", "p99 ms>", "images/s>", "times ours>"],
            [
                .. others.Append(ours).Select(r => (r.Name, r.Device, Times: timesOf(r))).OrderBy(r => r.Times.MedianMs).Select(r => new[]
                {
                    r.Name, r.Device, Text($"{r.Times.MedianMs:F3}"), Text($"{r.Times.MinMs:F3}"), Text($"{r.Times.P99Ms:F3}"),
                    Text($"{1000 / r.Times.MedianMs:F2}"), Text($"{r.Times.MedianMs / timesOf(ours).MedianMs:F2}"),
                }),
            ]);
    }

    private static void Save(string path, IBackend backend, BenchmarkSettings settings, BenchmarkResult result) => AtomicFile.Write(path, stream =>
    {
        using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true });
        json.WriteStartObject();
        json.WriteString("model", settings.Model.Name);
        json.WriteString("mode", settings.Mode);
        json.WriteString("device", backend.Name);
        json.WriteString("deviceDescription", backend.Description);
        json.WriteString("precision", CommonOptions.NameOf(backend.Precision));
        json.WriteString("size", Text($"{settings.Height}x{settings.Width}"));
        json.WriteNumber("batch", settings.Batch);
        json.WriteString("fuse", CommonOptions.NameOf(settings.Fuse));
        json.WriteNumber("threads", result.Threads);
        json.WriteNumber("iterations", result.Iterations);
        json.WriteNumber("multiplies", result.Multiplies);
        json.WriteString("scope", result.Scope);
        json.WriteNumber("medianMs", Math.Round(result.MedianMs, 4));
        json.WriteNumber("minMs", Math.Round(result.MinMs, 4));
        json.WriteNumber("p90Ms", Math.Round(result.P90Ms, 4));
        json.WriteNumber("p99Ms", Math.Round(result.P99Ms, 4));
        json.WriteNumber("fps", Math.Round(result.Fps, 4));
        json.WriteNumber("gflops", Math.Round(result.Gflops, 3));
        json.WriteNumber("medianGflops", Math.Round(result.MedianGflops, 3));
        if (result.Device is { } onDevice)
        {
            json.WriteString("deviceScope", onDevice.Scope);
            json.WriteNumber("deviceMedianMs", Math.Round(onDevice.MedianMs, 4));
            json.WriteNumber("deviceMinMs", Math.Round(onDevice.MinMs, 4));
            json.WriteNumber("deviceP90Ms", Math.Round(onDevice.P90Ms, 4));
            json.WriteNumber("deviceP99Ms", Math.Round(onDevice.P99Ms, 4));
        }
        json.WriteNumber("readyMs", Math.Round(result.Loading.ReadyMs, 1));
        json.WriteNumber("loadToFirstFrameMs", Math.Round(result.Loading.FirstFrameMs, 1));
        if (result.Loading.Caches is { } caches)
        {
            json.WriteBoolean("kernelCacheWarm", caches.IsWarm);
            json.WriteNumber("kernelsCompiled", caches.Compiled);
            json.WriteNumber("kernelsFromDisk", caches.FromDisk);
            json.WriteNumber("choicesTimed", caches.ChoicesTimed);
            json.WriteNumber("choicesFromDisk", caches.ChoicesFromDisk);
        }
        if (result.FmaPeakGflops is { } peak)
        {
            json.WriteNumber("fmaPeakGflops", Math.Round(peak, 3));
            json.WriteNumber("fmaPeakFraction", Math.Round(result.Gflops / peak, 4));
            json.WriteNumber("medianFmaPeakFraction", Math.Round(result.MedianGflops / peak, 4));
        }
        if (result.Convolutions is { } convolutions) ProfileJson.WriteConvolutions(json, convolutions);
        json.WriteNumber("arenaBytes", result.Plan.ArenaBytes);
        json.WriteNumber("unsharedBytes", result.Plan.UnsharedBytes);
        if (result.StepTimes.Count > 0) WriteSteps(json, result.StepTimes);
        json.WriteEndObject();
    });

    private static void WriteSteps(Utf8JsonWriter json, IReadOnlyList<StepTime> steps)
    {
        json.WriteStartArray("steps");
        foreach (StepTime step in steps)
        {
            json.WriteStartObject();
            json.WriteString("name", step.Name);
            json.WriteNumber("ms", Math.Round(step.Milliseconds, 4));
            json.WriteNumber("share", Math.Round(step.Share, 4));
            json.WriteNumber("gflops", Math.Round(step.Gflops, 3));
            json.WriteNumber("gigabytesPerSecond", Math.Round(step.GigabytesPerSecond, 3));
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
