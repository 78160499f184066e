using System.Text.Json;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using Xunit;

namespace DwrSeg.Native.Tests.Cli;

public sealed class BenchCommandTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

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
    public void OnADeviceItsOwnClockTimesTheNetwork(int batch, string precision)
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
        // The host waits for the network and more.
        Assert.True(Number("deviceMinMs") <= Number("minMs"));
        Assert.Contains(result.Lines, l => l.StartsWith("network alone", StringComparison.Ordinal));
        Assert.False(json.RootElement.TryGetProperty("fmaPeakGflops", out _));
        JsonElement convolutions = json.RootElement.GetProperty("convolutions");
        int native = convolutions.GetProperty("native").GetInt32();
        Assert.True(native > 10);
        Assert.Equal((0, 0), (convolutions.GetProperty("cudnn").GetInt32(), convolutions.GetProperty("cublasLt").GetInt32()));
        string line = Assert.Single(result.Lines, l => l.StartsWith("convolutions", StringComparison.Ordinal));
        Assert.EndsWith($" {native} native", line.TrimEnd(), StringComparison.Ordinal);
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
