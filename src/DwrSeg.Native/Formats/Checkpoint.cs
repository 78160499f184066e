using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace DwrSeg.Native.Formats;

/// <summary>
/// A training's state is a weights file with more in it: further tensors, and under the metadata key <c>training</c> a JSON object of
/// numbers and strings. So a checkpoint loads wherever weights do, and there is one format to check.
/// </summary>
internal static class Checkpoint
{
    public const string TrainingKey = "training";

    /// <summary>Puts the training's fields into a file to be written.</summary>
    /// <param name="writer">The file.</param>
    /// <param name="writeFields">Writes the object's properties, not its braces.</param>
    public static void SetTraining(SafetensorsWriter writer, Action<Utf8JsonWriter> writeFields)
    {
        ArrayBufferWriter<byte> text = new();
        using (Utf8JsonWriter json = new(text, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            writeFields(json);
            json.WriteEndObject();
        }
        writer.Metadata[TrainingKey] = Encoding.UTF8.GetString(text.WrittenSpan);
    }

    /// <summary>The training's fields.</summary>
    /// <exception cref="WeightsFormatException">The file holds weights alone, or the fields are not sound JSON.</exception>
    public static JsonFields Training(SafetensorsFile file) => file.Metadata.TryGetValue(TrainingKey, out string? json)
        ? new JsonFields(json, file.Name, TrainingKey)
        : throw new WeightsFormatException(file.Name, null, $"holds weights but no training state (metadata '{TrainingKey}'); " +
            "it can start a training, but not resume one");
}
