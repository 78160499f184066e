using System.Collections.Immutable;
using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Data;

/// <summary>
/// Cityscapes: <c>leftImg8bit/{split}/{city}/*_leftImg8bit.png</c> with <c>gtFine/{split}/{city}/*_gtFine_labelIds.png</c>, mapped to
/// the 19 train ids, or <c>*_gtFine_labelTrainIds.png</c>. The test split has no labels, as its annotation is not public.
/// </summary>
public sealed class CityscapesDataset : FileDataset
{
    internal const string ImagesFolder = "leftImg8bit";
    private const string AnnotationFolder = "gtFine";
    private const string UnlabelledSplit = "test";
    private const string ImageSuffix = "_leftImg8bit.png";
    private const string LabelIdsSuffix = "_gtFine_labelIds.png";
    private const string TrainIdsSuffix = "_gtFine_labelTrainIds.png";

    private static readonly LabelMap LabelIds = LabelMap.Table(CityscapesLabels.TrainIdByLabelId);
    private static readonly LabelMap TrainIds = LabelMap.TrainIds(ClassList.Cityscapes.Count, CityscapesLabels.Ignore);

    /// <summary>Opens one split: train, val or test.</summary>
    /// <exception cref="DatasetException">A folder or a label file is missing, or there is no image.</exception>
    public CityscapesDataset(string root, string split) : base(NameOf(root, split), ClassList.Cityscapes, Entries(root, split))
        => HasLabels = split != UnlabelledSplit;

    /// <inheritdoc/>
    public override bool HasLabels { get; }

    private static ImmutableArray<Entry> Entries(string root, string split)
    {
        string images = Path.Combine(root, ImagesFolder, split), annotation = Path.Combine(root, AnnotationFolder, split);
        RequireSplit(images, split, Path.Combine(root, ImagesFolder), _ => true);
        bool labelled = split != UnlabelledSplit;
        if (labelled) RequireFolder(annotation, "label PNGs (gtFine_trainvaltest.zip)");
        List<Entry> entries = [];
        foreach (string city in Directory.EnumerateDirectories(images).Order(StringComparer.Ordinal))
        {
            foreach (string image in Directory.EnumerateFiles(city, "*" + ImageSuffix).Order(StringComparer.Ordinal))
            {
                if (IsHidden(image)) continue;
                string name = Path.GetFileName(image)[..^ImageSuffix.Length];
                string stem = Path.Combine(annotation, Path.GetFileName(city), name);
                entries.Add(!labelled ? new Entry(name, image, null, TrainIds)
                    : File.Exists(stem + LabelIdsSuffix) ? new Entry(name, image, stem + LabelIdsSuffix, LabelIds)
                    : new Entry(name, image, stem + TrainIdsSuffix, TrainIds));
                if (entries[^1] is { LabelFile: { } label } && !File.Exists(label))
                {
                    throw new DatasetException(stem + LabelIdsSuffix, $"neither it nor {Path.GetFileName(label)} is there for image " +
                        $"{image}; unpack gtFine again");
                }
            }
        }
        if (entries.Count == 0) throw new DatasetException(images, $"holds no city folder with *{ImageSuffix}; unpack leftImg8bit again");
        return [.. entries];
    }
}
