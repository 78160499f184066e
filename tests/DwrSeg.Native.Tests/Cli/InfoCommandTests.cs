using System.Globalization;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using Xunit;

namespace DwrSeg.Native.Tests.Cli;

public sealed class InfoCommandTests
{
    [Theory]
    [InlineData("base", "2,543,667", "13.649 G")]
    [InlineData("large", "3,538,931", "16.435 G")]
    public void ParametersAndMultipliesAreThoseOfThePapersTable(string model, string parameters, string multiplies)
    {
        DwrsegResult result = DwrsegProcess.Run("info", "--model", model, "--size", "512x1024").Succeeded();
        Assert.Equal(parameters, Total(result, "parameters"));
        Assert.Contains(multiplies, Total(result, "multiplies"), StringComparison.Ordinal);
        Assert.Matches(@"^[\d.]+ MiB \(fp32; [\d.]+ MiB without sharing\)$", Total(result, "activation memory"));
    }

    [Fact]
    public void RowsOfLayersAddUpToTheTotals()
    {
        DwrsegResult result = DwrsegProcess.Run("info").Succeeded();
        string[] rows = [.. result.Output.Split('\n').Skip(1).TakeWhile(line => line.Length > 0)];
        Assert.True(rows.Length > 100);
        // Numbers are aligned to the right under their headers, at the end of each line.
        int end = result.Lines[0].IndexOf("parameters", StringComparison.Ordinal) + "parameters".Length;
        long parameters = rows.Sum(row => Number(Cell(row, end - "parameters".Length, end)));
        long multiplies = rows.Sum(row => Number(row.Length > end ? row[end..] : ""));
        Assert.Equal(Total(result, "parameters"), parameters.ToString("N0", CultureInfo.InvariantCulture));
        Assert.StartsWith(multiplies.ToString("N0", CultureInfo.InvariantCulture) + " ", Total(result, "multiplies"), StringComparison.Ordinal);
    }

    [Fact]
    public void WeightsFileBringsItsOwnNetworkAndSize()
    {
        using TemporaryFolder folder = new();
        string model = SmallModel.Save(folder.File("model.safetensors"), inputSize: (40, 72));
        Assert.Equal($"{model}, 4 classes, input 40x72", Total(DwrsegProcess.Run("info", "--model", model).Succeeded(), "network"));
        Assert.EndsWith("input 8x8", Total(DwrsegProcess.Run("info", "--model", model, "--size", "8x8").Succeeded(), "network"), StringComparison.Ordinal);
        DwrsegProcess.Run("info", "--model", model, "--classes", "5").Failed(2, "--classes 5");
        DwrsegProcess.Run("info", "--model", folder.File("none.safetensors")).Failed(3, "none.safetensors");
        DwrsegProcess.Run("info", "--classes", "256").Failed(2, "256");
    }

    [Fact]
    public void ActivationMemoryIsThatOfTheBackendsPlan()
    {
        using CpuBackend backend = new(1);
        using ITensorStore store = backend.CreateStore();
        using IPlan plan = backend.Compile(InferencePasses.Apply(DwrSegModel.Inference(DwrSegConfig.Base(), 1, 64, 96)), store);
        DwrsegResult result = DwrsegProcess.Run("info", "--size", "64x96").Succeeded();
        Assert.StartsWith(FormattableString.Invariant($"{plan.Summary.ArenaBytes / 1048576.0:F1} MiB "), Total(result, "activation memory"), StringComparison.Ordinal);
        Assert.EndsWith($"in {plan.Summary.Steps.Count} steps on the CPU", Total(result, "layers"), StringComparison.Ordinal);
    }

    [Fact]
    public void ConfigurationCanBeChanged()
    {
        DwrsegResult result = DwrsegProcess.Run("info", "--size", "64x64", "--config", """{"beta": 3}""").Succeeded();
        long parameters = Number(Total(result, "parameters"));
        Assert.Equal(DwrSegModel.Inference(DwrSegConfig.Base() with { RrExpansion = 3 }, 1, 64, 64).Parameters.Sum(p => p.Shape.Elements), parameters);
        Assert.StartsWith("DWRSeg-B with {", Total(result, "network"), StringComparison.Ordinal);
        DwrsegProcess.Run("info", "--config", """{"delta": 3}""").Failed(2, "no 'delta'");
        DwrsegProcess.Run("info", "--config", "nowhere.json").Failed(2, "nowhere.json");
        DwrsegProcess.Run("bench", "--config", """{"beta": 99}""").Failed(2, "rr_expansion = 99");
    }

    [Fact]
    public void OutputToAPipeIsPlain() =>
        Assert.DoesNotContain(DwrsegProcess.Run("info").Succeeded().Output, c => c == '\e' || c is >= '\u2500' and <= '\u257f');

    private static string Total(DwrsegResult result, string name)
    {
        string line = Assert.Single(result.Lines, l => l.StartsWith(name + "  ", StringComparison.Ordinal) && !l.Contains("after", StringComparison.Ordinal));
        return line[name.Length..].Trim();
    }

    private static string Cell(string row, int start, int end) => row.Length > start ? row[start..Math.Min(end, row.Length)] : "";

    private static long Number(string cell) => cell.Trim().Length == 0 ? 0 : long.Parse(cell.Trim(), NumberStyles.AllowThousands, CultureInfo.InvariantCulture);
}
