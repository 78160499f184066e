using DwrSeg.Native.Formats;
using DwrSeg.Native.Models;

namespace DwrSeg.Native.Training;

/// <summary>Turns a checkpoint into the file that is handed on: weights and metadata alone, in a smaller type.</summary>
internal static class ModelExport
{
    /// <summary>
    /// Writes the weights of <paramref name="from"/> in <paramref name="type"/>. Vectors (BN's parameters and statistics, the bias) are
    /// under a hundredth of the values and stay F32, where small variances keep their precision.
    /// </summary>
    /// <exception cref="WeightsFormatException">The source is not sound.</exception>
    /// <exception cref="OverflowException">A weight is out of the type's range.</exception>
    public static void Write(string from, string to, SafetensorsDType type)
    {
        using SafetensorsFile file = SafetensorsFile.Open(from);
        var writer = new SafetensorsWriter();
        writer.Metadata[ModelMetadata.Key] = file.Metadata[ModelMetadata.Key];
        foreach (SafetensorsEntry entry in file.Tensors.Values)
        {
            if (entry.Name.StartsWith(Autograd.Sgd.VelocityPrefix, StringComparison.Ordinal)) continue;
            if (entry.DType == SafetensorsDType.I64)
            {
                long[] integers = new long[entry.ElementCount];
                file.ReadInt64(entry.Name, integers);
                writer.Add(entry.Name, entry.Shape.AsSpan(), integers);
                continue;
            }
            float[] values = new float[entry.ElementCount];
            file.ReadFloats(entry.Name, values);
            writer.Add(entry.Name, entry.Shape.Length <= 1 ? SafetensorsDType.F32 : type, entry.Shape.AsSpan(), values);
        }
        writer.Save(to);
    }
}
