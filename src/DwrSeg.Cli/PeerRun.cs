using System.Text.Json;
using DwrSeg.Native.Formats;

namespace DwrSeg.Cli;

/// <summary>A measurement of another program, or an earlier one of this, to stand beside ours.</summary>
/// <param name="Name">What was run.</param>
/// <param name="Model">The network, such as DWRSeg-B; empty where the file does not say.</param>
/// <param name="Device">Where.</param>
/// <param name="Mode">infer or train.</param>
/// <param name="Size">Input size, HxW.</param>
/// <param name="Batch">Images a run.</param>
/// <param name="Host">Times by the host's clock.</param>
/// <param name="OnDevice">Times by the device's events; null where there are none, or nobody says what they contain.</param>
internal sealed record PeerRun(string Name, string Model, string Device, string Mode, string Size, int Batch, PeerTimes Host, PeerTimes? OnDevice)
{
    /// <summary>
    /// Reads a file of <c>bench/peers</c> (an object with <c>runs</c>) or of <c>dwrseg bench --json</c> (one run); both name the same things
    /// by the same keys.
    /// </summary>
    /// <exception cref="IOException">The file can't be read.</exception>
    /// <exception cref="DataFormatException">It is neither.</exception>
    public static IReadOnlyList<PeerRun> Read(string path)
    {
        try
        {
            using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(path));
            JsonElement root = json.RootElement;
            return root.TryGetProperty("runs", out JsonElement runs) ? [.. runs.EnumerateArray().Select(Of)] : [Of(root)];
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new DataFormatException(
                path, null, $"is no result of a benchmark ({e.Message.TrimEnd('.')}); bench/peers/dwrseg_torch.py --json and dwrseg bench --json make such files");
        }
    }

    private static PeerRun Of(JsonElement run) => new(
        Text(run, "name") ?? $"dwrseg {Text(run, "model")} {Text(run, "precision")}".TrimEnd(), Text(run, "model") ?? "", Text(run, "device") ?? "", Text(run, "mode") ?? "infer",
        run.GetProperty("size").GetString()!, run.GetProperty("batch").GetInt32(), Times(run, "medianMs", "minMs", "p99Ms", Text(run, "scope") ?? ""),
        Text(run, "deviceScope") is { } scope ? Times(run, "deviceMedianMs", "deviceMinMs", "deviceP99Ms", scope) : null);

    private static PeerTimes Times(JsonElement run, string median, string min, string p99, string scope) =>
        new(run.GetProperty(median).GetDouble(), run.GetProperty(min).GetDouble(), run.GetProperty(p99).GetDouble(), scope);

    private static string? Text(JsonElement run, string key) => run.TryGetProperty(key, out JsonElement value) ? value.GetString() : null;
}

/// <summary>Times per image of one clock.</summary>
/// <param name="MedianMs">The median.</param>
/// <param name="MinMs">The shortest.</param>
/// <param name="P99Ms">The time that 99 % of the runs keep.</param>
/// <param name="Scope">What was timed (<see cref="TimedScope"/>); empty where nobody says.</param>
internal sealed record PeerTimes(double MedianMs, double MinMs, double P99Ms, string Scope);
