namespace DwrSeg.Native.Formats;

/// <summary>Cityscapes numbers its classes twice: label ids in annotations and submissions, train ids for the 19 trained classes.</summary>
public static class CityscapesLabels
{
    /// <summary>The train id that stands for "not trained, not evaluated".</summary>
    public const byte Ignore = 255;

    /// <summary>The train id of each label id 0 … 33; <see cref="Ignore"/> for those that are not trained.</summary>
    public static ReadOnlySpan<byte> TrainIdByLabelId =>
    [
        255, 255, 255, 255, 255, 255, 255, 0, 1, 255, 255, 2, 3, 4, 255, 255, 255,
        5, 255, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255, 255, 16, 17, 18,
    ];

    /// <summary>The label id of each train id 0 … 18.</summary>
    public static ReadOnlySpan<byte> LabelIdByTrainId => [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33];
}
