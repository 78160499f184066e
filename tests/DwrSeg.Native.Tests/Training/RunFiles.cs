using System.Text.Json;
using System.Text.Json.Nodes;
using Xunit;

namespace DwrSeg.Native.Tests.Training;

/// <summary>What a run left in its folder.</summary>
internal sealed class RunFiles(string folder)
{
    public string Last => Path.Combine(folder, "last.safetensors");

    public string Best => Path.Combine(folder, "best.safetensors");

    public string Model => Path.Combine(folder, "model.safetensors");

    public string Metrics => Path.Combine(folder, "metrics.jsonl");

    public JsonObject[] Lines(string kind) => [.. File.ReadLines(Metrics).Select(Parse).Where(line => (string?)line["kind"] == kind)];

    /// <summary>Every byte of the weights and of the metrics is the same, but for the speed, which is a measurement.</summary>
    public void AssertSame(RunFiles other, string what)
    {
        foreach ((string mine, string others) in (ReadOnlySpan<(string, string)>)[(Last, other.Last), (Best, other.Best), (Model, other.Model)])
            Assert.True(File.ReadAllBytes(mine).AsSpan().SequenceEqual(File.ReadAllBytes(others)), $"{what}: {Path.GetFileName(mine)} differs");
        Assert.Equal(WithoutSpeed(Metrics), WithoutSpeed(other.Metrics));
    }

    private static string WithoutSpeed(string metrics) => string.Join('\n', File.ReadAllText(metrics).Split('\n').Select(line =>
    {
        if (line.Length == 0) return line;
        JsonObject json = Parse(line);
        json.Remove("imagesPerSecond");
        return json.ToJsonString();
    }));

    private static JsonObject Parse(string line) => JsonSerializer.Deserialize<JsonObject>(line)!;
}
