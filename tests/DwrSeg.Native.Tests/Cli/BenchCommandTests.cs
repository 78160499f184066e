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
        Assert.Equal(Number("gflops") / Number("fmaPeakGflops"), Number("fmaPeakFraction"), 3);
        Assert.InRange(Number("fmaPeakFraction"), 0, 1.5);
        Assert.Contains(result.Lines, l => l.StartsWith("per image", StringComparison.Ordinal));
        Assert.Contains(result.Lines, l => l.StartsWith("FMA peak", StringComparison.Ordinal));

        static void AssertClose(double expected, double found) => Assert.InRange(found, 0.98 * expected - 0.001, 1.02 * expected + 0.001);
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
