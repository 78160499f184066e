using System.Text.Json;
using DwrSeg.Native.Formats;

namespace DwrSeg.Cli.Profiling;

/// <summary>
/// A profile as trace events, the JSON that Perfetto and Chrome's tracing page open: one row, the launches one after the other, each as
/// long as it was measured or, where nothing was, is expected to take.
/// </summary>
internal static class ChromeTrace
{
    private const int Process = 1, Row = 1, Digits = 6;

    public static void Save(string path, FrameProfile profile) => AtomicFile.Write(path, stream =>
    {
        using var json = new Utf8JsonWriter(stream);
        ProfileSettings s = profile.Settings;
        bool isMeasured = profile.Seconds is not null;
        json.WriteStartObject();
        json.WriteString("displayTimeUnit", "ns");
        json.WriteStartArray("traceEvents");
        WriteName(json, "process_name", $"{s.Model.Name} {s.Height}x{s.Width} {profile.Precision} on {profile.Device}");
        WriteName(json, "thread_name", isMeasured ? $"launches, {profile.TimeSource}" : $"launches, expected on {profile.Gpu?.Title}");
        double start = 0;
        foreach (LaunchRow row in profile.Launches)
        {
            double microseconds = 1e6 * (row.Seconds ?? row.Model?.Expected ?? 0);
            json.WriteStartObject();
            json.WriteString("name", row.Work?.Call ?? row.Step);
            json.WriteString("cat", "kernel");
            json.WriteString("ph", "X");
            json.WriteNumber("ts", Math.Round(start, Digits));
            json.WriteNumber("dur", Math.Round(microseconds, Digits));
            json.WriteNumber("pid", Process);
            json.WriteNumber("tid", Row);
            WriteArguments(json, profile, row);
            json.WriteEndObject();
            start += microseconds;
        }
        json.WriteEndArray();
        json.WriteEndObject();
    });

    private static void WriteName(Utf8JsonWriter json, string what, string name)
    {
        json.WriteStartObject();
        json.WriteString("name", what);
        json.WriteString("ph", "M");
        json.WriteNumber("pid", Process);
        json.WriteNumber("tid", Row);
        json.WriteStartObject("args");
        json.WriteString("name", name);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static void WriteArguments(Utf8JsonWriter json, FrameProfile profile, LaunchRow row)
    {
        json.WriteStartObject("args");
        json.WriteString("step", row.Step);
        json.WriteString("layer", row.Layer);
        if (row.Work is { } work) json.WriteString("variant", work.Name);
        if (row.Launch is { } launch)
        {
            json.WriteString("grid", launch.Grid.ToString());
            json.WriteString("block", launch.Block.ToString());
        }
        json.WriteNumber("bytes", row.Bytes);
        json.WriteNumber("flops", row.Flops);
        if (row.Model is { } model) json.WriteNumber("floorUs", Math.Round(1e6 * model.Floor, Digits));
        if (row.Seconds is { } seconds && seconds > 0)
        {
            json.WriteNumber("GBs", Math.Round(row.Bytes / seconds / 1e9, Digits));
            json.WriteNumber("gflops", Math.Round(row.Flops / seconds / 1e9, Digits));
            if (profile.PeakOf(row) is { } peak and > 0) json.WriteNumber("peakFraction", Math.Round(row.Flops / seconds / peak, Digits));
        }
        json.WriteEndObject();
    }
}
