using System.Buffers;
using System.Text.Json;
using DwrSeg.Native.Evaluation;
using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Training;

/// <summary>
/// The file <c>metrics.jsonl</c>: one JSON object a line, of kind <c>step</c>, <c>epoch</c> or <c>validation</c>. Open exclusively as long
/// as the run lasts, so that no second run writes into the same folder.
/// </summary>
internal sealed class MetricsLog : IDisposable
{
    private readonly FileStream _file;

    private MetricsLog(FileStream file) => _file = file;

    /// <summary>Opens or creates the file.</summary>
    /// <exception cref="TrainingException">Another run has it open.</exception>
    public static MetricsLog Open(string path)
    {
        try
        {
            // Lines are written whole, so a buffer would only keep a line that failed until Dispose, to fail again.
            return new MetricsLog(new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 0));
        }
        catch (IOException e) when (e is not (FileNotFoundException or DirectoryNotFoundException or PathTooLongException) && File.Exists(path))
        {
            throw new TrainingException($"{path} can't be opened for writing: {e.Message} Is another run writing into this folder?");
        }
    }

    /// <summary>
    /// Drops the lines that a run which resumes from <paramref name="state"/> will write again. Lines are in order, so they are the file's
    /// end; a last line that was cut short goes too.
    /// </summary>
    public void Rewind(TrainingState state)
    {
        byte[] text = new byte[_file.Length];
        _file.Position = 0;
        _file.ReadExactly(text);
        int kept = 0;
        while (text.AsSpan(kept).IndexOf((byte)'\n') is var length and >= 0)
        {
            if (!IsDone(text.AsMemory(kept, length), state)) break;
            kept += length + 1;
        }
        _file.SetLength(kept);
        _file.Position = kept;
    }

    public void Step(int epoch, int step, long iteration, double? loss, float learningRate, double imagesPerSecond) => Write("step", epoch, iteration, json =>
    {
        json.WriteNumber("step", step);
        WriteNumber(json, "loss", loss);
        json.WriteNumber("learningRate", learningRate);
        json.WriteNumber("imagesPerSecond", Math.Round(imagesPerSecond, 3));
    });

    public void Epoch(int epoch, long iteration, double? loss) => Write("epoch", epoch, iteration, json => WriteNumber(json, "loss", loss));

    public void Validation(int epoch, long iteration, EvaluationResult result) => Write("validation", epoch, iteration, json =>
    {
        WriteNumber(json, "mIoU", result.MeanIou);
        WriteNumber(json, "pixelAccuracy", result.PixelAccuracy);
        json.WriteStartObject("classIoU");
        foreach (ClassResult of in result.PerClass) WriteNumber(json, of.Name, of.Iou);
        json.WriteEndObject();
    });

    /// <summary>Puts all lines on the disk: a state that is saved next must not know of lines that a power cut takes away.</summary>
    public void Sync() => _file.Flush(flushToDisk: true);

    public void Dispose() => _file.Dispose();

    private void Write(string kind, int epoch, long iteration, Action<Utf8JsonWriter> writeRest)
    {
        var line = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(line))
        {
            json.WriteStartObject();
            json.WriteString("kind", kind);
            json.WriteNumber("epoch", epoch);
            json.WriteNumber("iteration", iteration);
            writeRest(json);
            json.WriteEndObject();
        }
        line.Write("\n"u8);
        try
        {
            _file.Write(line.WrittenSpan);
        }
        catch (Exception e) when (e is IOException || (e is ArgumentOutOfRangeException range && AtomicFile.IsTooLarge(range)))
        {
            string remedy = e is IOException io && !AtomicFile.IsFull(io) ? "repair that" : "free some space";
            throw new IOException($"cannot write {_file.Name}: {e.Message.TrimEnd('.')}; {remedy} and go on with --resume", e);
        }
    }

    private static void WriteNumber(Utf8JsonWriter json, string key, double? value)
    {
        if (value is { } number) json.WriteNumber(key, number);
        else json.WriteNull(key);
    }

    private static bool IsDone(ReadOnlyMemory<byte> line, TrainingState state)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(line);
            JsonElement root = document.RootElement;
            return root.GetProperty("kind").GetString() == "validation"
                ? root.GetProperty("epoch").GetInt64() <= state.ValidatedEpoch
                : root.GetProperty("iteration").GetInt64() <= state.Iteration;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException or FormatException)
        {
            return false;
        }
    }
}
