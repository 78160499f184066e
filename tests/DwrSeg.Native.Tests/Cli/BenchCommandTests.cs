using System.Diagnostics;
using System.Text.Json;
using DwrSeg.Cli;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Tests.Cuda;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Cli;

public sealed class BenchCommandTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void TrainingInSixteenBitsIsRefused() =>
        DwrsegProcess.Run("bench", "--train", "--precision", "fp16").Failed(2, "a training step is computed in fp32, not in fp16");

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void FiguresInTheJsonFileFollowFromEachOther(bool train)
    {
        string model = SmallModel.Save(_folder.File("model.safetensors")), file = _folder.File("bench.json");
        string[] arguments = ["bench", "--model", model, "--size", "48x64", "--batch", "2", "--iterations", "5", "--json", file, .. train ? (string[])["--train"] : []];
        DwrsegResult result = DwrsegProcess.Run(arguments).Succeeded();

        using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(file));
        double Number(string name) => json.RootElement.GetProperty(name).GetDouble();
        Assert.Equal((5, 2, train ? "train" : "infer"), (Number("iterations"), Number("batch"), json.RootElement.GetProperty("mode").GetString()));
        Assert.InRange(Number("medianMs"), Number("minMs"), Number("p99Ms"));
        Assert.True(Number("minMs") > 0);
        Assert.True(Number("loadToFirstFrameMs") > Number("readyMs") && Number("readyMs") > 0);
        Assert.StartsWith(train ? "training step" : "normalised image", json.RootElement.GetProperty("scope").GetString(), StringComparison.Ordinal);
        Assert.False(json.RootElement.TryGetProperty("kernelsCompiled", out _));
        // Figures are rounded to four digits after the point, times here are well above 0.01 ms.
        AssertClose(1000 / Number("medianMs"), Number("fps"));
        AssertClose(2 * Number("multiplies") / 2 / Number("minMs") / 1e6, Number("gflops"));
        Assert.Equal(Number("gflops") / Number("fmaPeakGflops"), Number("fmaPeakFraction"), 1e-3);
        Assert.InRange(Number("fmaPeakFraction"), 0, 1.5);
        Assert.Contains(result.Lines, l => l.StartsWith("per image", StringComparison.Ordinal));
        Assert.Contains(result.Lines, l => l.StartsWith("FMA peak", StringComparison.Ordinal));

        static void AssertClose(double expected, double found) => Assert.InRange(found, 0.98 * expected - 0.001, 1.02 * expected + 0.001);
    }

    [Fact]
    public void AFolderThatKeepsNoKernelsIsWarnedOfOnce()
    {
        string model = SmallModel.Save(_folder.File("model.safetensors")), blocked = _folder.File("blocked");
        File.WriteAllText(blocked, "no folder");
        DwrsegResult result = DwrsegProcess.RunWith(
            [new("DWRSEG_KERNEL_CACHE", blocked)],
            "bench", "--model", model, "--size", "8x8", "--iterations", "1", "--device", "emulated", "--precision", "fp32");
        Assert.Equal(0, result.ExitCode);
        string line = Assert.Single(result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.StartsWith("dwrseg: compiled kernels are not kept: ", line, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1, "fp16")]
    [InlineData(8, "fp32")]
    public void OnADeviceItsOwnClockTimesImageToClassMap(int batch, string precision)
    {
        string model = SmallModel.Save(_folder.File("model.safetensors")), file = _folder.File("bench.json");
        DwrsegResult result = DwrsegProcess.Run(
            "bench", "--model", model, "--size", "16x24", "--batch", $"{batch}", "--iterations", "3", "--device", "emulated", "--precision", precision,
            "--json", file).Succeeded();
        using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(file));
        double Number(string name) => json.RootElement.GetProperty(name).GetDouble();
        Assert.Equal((batch, precision), (Number("batch"), json.RootElement.GetProperty("precision").GetString()));
        Assert.True(Number("deviceMinMs") > 0);
        Assert.InRange(Number("deviceMedianMs"), Number("deviceMinMs"), Number("deviceP99Ms"));
        Assert.InRange(Number("deviceP90Ms"), Number("deviceMedianMs"), Number("deviceP99Ms"));
        // The host waits for the class map and its download.
        Assert.True(Number("deviceMinMs") <= Number("minMs"));
        Assert.EndsWith("class map in device memory", json.RootElement.GetProperty("deviceScope").GetString(), StringComparison.Ordinal);
        Assert.EndsWith("class map in host memory", json.RootElement.GetProperty("scope").GetString(), StringComparison.Ordinal);
        Assert.Contains(result.Lines, l => l.StartsWith("on the device", StringComparison.Ordinal));
        Assert.False(json.RootElement.TryGetProperty("fmaPeakGflops", out _));
        JsonElement convolutions = json.RootElement.GetProperty("convolutions");
        int native = convolutions.GetProperty("native").GetInt32();
        Assert.True(native > 10);
        Assert.Equal((0, 0), (convolutions.GetProperty("cudnn").GetInt32(), convolutions.GetProperty("cublasLt").GetInt32()));
        string line = Assert.Single(result.Lines, l => l.StartsWith("convolutions", StringComparison.Ordinal));
        Assert.EndsWith($" {native} native", line.TrimEnd(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void TheDevicesTimeHoldsTheNetworkAndAClassMapForEachImage(int batch)
    {
        // A class map takes a second, any other launch a millisecond.
        BenchmarkResult result = OnAPlantedClock(batch, new TimedChoices(null) { Repetitions = 1, Rounds = 1 });
        Assert.Equal(1000 + (double)result.Plan.Steps.Count / batch, result.Device!.MedianMs, 1e-2);
    }

    [Fact]
    public void ASecondLoadTimesNothing()
    {
        TimedChoices Choices() => new(_folder.Path) { Repetitions = 1, Rounds = 1 };
        CacheUse cold = OnAPlantedClock(1, Choices()).Loading.Caches!, warm = OnAPlantedClock(1, Choices()).Loading.Caches!;
        Assert.True(cold.ChoicesTimed > 0 && !cold.IsWarm);
        Assert.Equal(0, cold.ChoicesFromDisk);
        Assert.Equal((0, cold.ChoicesTimed), (warm.ChoicesTimed, warm.ChoicesFromDisk));
    }

    [Fact]
    public void ASecondProcessCompilesNothing()
    {
        string model = SmallModel.Save(_folder.File("model.safetensors")), file = _folder.File("bench.json");
        (bool, int Compiled, int FromDisk) Run()
        {
            DwrsegProcess.RunWith(
                [new("DWRSEG_KERNEL_CACHE", _folder.File("kernels"))],
                "bench", "--model", model, "--size", "16x24", "--iterations", "1", "--device", "emulated", "--json", file).Succeeded();
            JsonElement json = JsonDocument.Parse(File.ReadAllBytes(file)).RootElement;
            int Number(string name) => json.GetProperty(name).GetInt32();
            return (json.GetProperty("kernelCacheWarm").GetBoolean(), Number("kernelsCompiled"), Number("kernelsFromDisk"));
        }

        (bool, int Compiled, int FromDisk) cold = Run();
        Assert.True(cold.Compiled > 5);
        Assert.Equal((false, cold.Compiled, 0), cold);
        Assert.Equal((true, 0, cold.Compiled), Run());
    }

    private BenchmarkResult OnAPlantedClock(int batch, TimedChoices choices)
    {
        TestNvrtc.Require();
        ModelChoice model = ModelChoice.Open(SmallModel.Save(_folder.File("model.safetensors")));
        using var driver = new EmulatedDriver(new EmulatedDriverOptions
        {
            Devices = [DeviceModel.Of(80)], LaunchMilliseconds = l => l.Kernel == "argmax_head" ? 1000 : 1,
        });
        using var backend = new CudaBackend(
            "emulated", driver, 0, CudaElement.Float16, wantsPtx: true, ConvolutionChoice.Native, choices: choices);
        var settings = new BenchmarkSettings(model, 16, 24, batch, IsTraining: false, Seconds: 1, Iterations: 3, Steps: false, Fusion.All);
        return Benchmark.Run(backend, settings, Stopwatch.StartNew(), TestContext.Current.CancellationToken);
    }

    [Fact]
    public void PeersOfTheSameKindStandInOneTableWithOurs()
    {
        string model = SmallModel.Save(_folder.File("model.safetensors")), earlier = _folder.File("earlier.json"), peers = _folder.File("peers.json");
        string[] arguments = ["bench", "--model", model, "--size", "16x24", "--iterations", "1"];
        DwrsegProcess.Run([.. arguments, "--json", earlier]).Succeeded();
        File.WriteAllText(peers, """
            {"runs": [
              {"name": "slow peer", "device": "gpu", "mode": "infer", "size": "16x24", "batch": 1, "medianMs": 1e6, "minMs": 9e5, "p99Ms": 2e6},
              {"name": "fast peer", "device": "gpu", "mode": "infer", "size": "16x24", "batch": 1, "medianMs": 1e-6, "minMs": 1e-6, "p99Ms": 1e-6},
              {"name": "other batch", "device": "gpu", "mode": "infer", "size": "16x24", "batch": 8, "medianMs": 1, "minMs": 1, "p99Ms": 1},
              {"name": "training", "device": "gpu", "mode": "train", "size": "16x24", "batch": 1, "medianMs": 1, "minMs": 1, "p99Ms": 1},
              {"name": "other network", "model": "other", "device": "gpu", "mode": "infer", "size": "16x24", "batch": 1, "medianMs": 1, "minMs": 1, "p99Ms": 1}
            ]}
            """);
        DwrsegResult result = DwrsegProcess.Run([.. arguments, "--peer-json", peers, "--peer-json", earlier]).Succeeded();
        string[] table = [.. result.Lines.SkipWhile(l => !l.StartsWith("run ", StringComparison.Ordinal)).Skip(1)];
        Assert.StartsWith("fast peer", table[0], StringComparison.Ordinal);
        Assert.Equal(2, table[1..3].Count(l => l.StartsWith("dwrseg ", StringComparison.Ordinal) && l.Contains(" fp32 ", StringComparison.Ordinal)));
        // This run; the earlier one may have taken as long.
        Assert.Contains(table[1..3], l => l.EndsWith(" 1.00", StringComparison.Ordinal));
        Assert.StartsWith("slow peer", table[3], StringComparison.Ordinal);
        Assert.StartsWith("3 left out: not ", table[4], StringComparison.Ordinal);
        Assert.EndsWith(", infer, batch 1, 16x24", table[4], StringComparison.Ordinal);

        File.WriteAllText(peers, "{}");
        DwrsegProcess.Run([.. arguments, "--peer-json", peers]).Failed(3, peers);
        DwrsegProcess.Run([.. arguments, "--peer-json", _folder.File("none.json")]).Failed(3, "none.json");
    }

    [Fact]
    public void PeersWithADeviceClockAreHeldAgainstTheDevicesTime()
    {
        string model = SmallModel.Save(_folder.File("model.safetensors")), peers = _folder.File("peers.json");
        // The network's own scope; one that leaves something out, one that does not say what it holds, one without events.
        File.WriteAllText(peers, """
            {"runs": [
              {"name": "same scope", "size": "16x24", "batch": 1, "scope": "x", "medianMs": 1e6, "minMs": 9e5, "p99Ms": 2e6,
               "deviceScope": "normalised image in device memory to class map in device memory",
               "deviceMedianMs": 1e-6, "deviceMinMs": 1e-6, "deviceP99Ms": 1e-6},
              {"name": "logits alone", "size": "16x24", "batch": 1, "scope": "image to logits", "medianMs": 3e6, "minMs": 1, "p99Ms": 1,
               "deviceScope": "image to logits", "deviceMedianMs": 1e-6, "deviceMinMs": 1e-6, "deviceP99Ms": 1e-6},
              {"name": "who knows", "size": "16x24", "batch": 1, "medianMs": 2e6, "minMs": 1, "p99Ms": 1, "deviceMedianMs": 1e-6},
              {"name": "host only", "size": "16x24", "batch": 1, "medianMs": 1e-6, "minMs": 1, "p99Ms": 1}
            ]}
            """);
        DwrsegResult result = DwrsegProcess.Run(
            "bench", "--model", model, "--size", "16x24", "--iterations", "1", "--device", "emulated", "--peer-json", peers).Succeeded();
        string[] lines = [.. result.Lines.SkipWhile(l => !l.StartsWith("By the devices' events", StringComparison.Ordinal))];
        string[] starts =
        [
            "By the devices' events, normalised", "run ", "same scope", "dwrseg ",
            "By the host's clock, ours normalised", "run ", "host only", "dwrseg ", "who knows", "logits alone", "logits alone: image to logits",
        ];
        Assert.Equal(starts.Length, lines.Length);
        Assert.All(starts.Zip(lines), p => Assert.StartsWith(p.First, p.Second, StringComparison.Ordinal));
    }

    [Fact]
    public void WhatCanNotBeTimedOrWrittenIsNamed()
    {
        string model = SmallModel.Save(_folder.File("model.safetensors"));
        DwrsegProcess.Run("bench", "--model", _folder.File("none.safetensors")).Failed(3, "none.safetensors");
        DwrsegProcess.Run("bench", "--iterations", "0").Failed(2, "--iterations");
        DwrsegProcess.Run("bench", "--batch", "0").Failed(2, "--batch");
        DwrsegProcess.Run("bench", "--seconds", "-1").Failed(2, "--seconds");
        // Told before anything is timed.
        DwrsegResult result = DwrsegProcess.Run("bench", "--model", model, "--size", "16x16", "--iterations", "1", "--json", _folder.File("none/bench.json"));
        Assert.Equal("", result.Failed(3, "none/bench.json").Output);
    }
}
