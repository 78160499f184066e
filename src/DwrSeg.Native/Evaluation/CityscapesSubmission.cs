using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Evaluation;

/// <summary>Writes predictions as the Cityscapes benchmark takes them: one PNG of label ids per image, at the image's full size.</summary>
public static class CityscapesSubmission
{
    private const byte Unlabelled = 0;

    /// <summary>The label id of each train id; 255 becomes 0, unlabelled.</summary>
    /// <param name="trainIds">0 to 18 or 255.</param>
    /// <param name="labelIds">As many bytes; may be the same memory.</param>
    /// <exception cref="ArgumentException">The lengths differ or an id is no train id.</exception>
    public static void ToLabelIds(ReadOnlySpan<byte> trainIds, Span<byte> labelIds)
    {
        if (trainIds.Length != labelIds.Length) throw new ArgumentException($"{labelIds.Length} bytes do not fit {trainIds.Length} ids");
        ReadOnlySpan<byte> table = CityscapesLabels.LabelIdByTrainId;
        for (int i = 0; i < trainIds.Length; i++)
        {
            int id = trainIds[i];
            labelIds[i] = id < table.Length ? table[id]
                : id == CityscapesLabels.Ignore ? Unlabelled
                : throw new ArgumentException($"{id} is no train id; Cityscapes has 0 to {table.Length - 1}, and 255");
        }
    }

    /// <summary>Writes <c>{folder}/{name}_pred_labelIds.png</c>, whole or not at all, and creates the folder where it is missing.</summary>
    /// <param name="folder">Where the submission is gathered.</param>
    /// <param name="name">The image's name, as in <c>berlin_000000_000019</c>.</param>
    /// <param name="width">Pixels per row.</param>
    /// <param name="height">Rows.</param>
    /// <param name="trainIds">Train id of each pixel.</param>
    /// <returns>The file's path.</returns>
    /// <exception cref="ArgumentException">An id is no train id, or the ids do not fit the size.</exception>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public static string Write(string folder, string name, int width, int height, ReadOnlySpan<byte> trainIds)
    {
        byte[] labelIds = new byte[trainIds.Length];
        ToLabelIds(trainIds, labelIds);
        Directory.CreateDirectory(folder);
        string path = Path.Combine(folder, $"{name}_pred_labelIds.png");
        ImageCodec.SaveLabels(path, width, height, labelIds);
        return path;
    }
}
