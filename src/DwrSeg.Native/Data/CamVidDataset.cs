using System.Collections.Immutable;
using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Data;

/// <summary>
/// CamVid in the 11 classes of the SegNet tutorial, labels 0 to 10 and 11 for unlabelled. Two layouts are recognised:
/// <c>{split}/images</c> with <c>{split}/labels</c>, and the tutorial's own <c>{split}</c> with <c>{split}annot</c>, where a list file
/// <c>{split}.txt</c>, if there is one, decides which images belong to the split and in which order.
/// </summary>
public sealed class CamVidDataset : FileDataset
{
    private const string AnnotationSuffix = "annot";
    private const string ListExtension = ".txt";

    private static readonly LabelMap Map = LabelMap.TrainIds(ClassList.CamVid.Count, ClassList.CamVid.IgnoreId);

    /// <summary>Opens one split: train, val or test.</summary>
    /// <exception cref="DatasetException">A folder or a label file is missing, or there is no image.</exception>
    public CamVidDataset(string root, string split) : base(NameOf(root, split), ClassList.CamVid, Entries(root, split))
    {
    }

    internal static bool Recognises(string root)
        => Directory.EnumerateDirectories(root).Any(folder => IsSplit(folder) || IsTutorialSplit(folder));

    private static bool IsSplit(string folder) => Directory.Exists(Path.Combine(folder, Images));

    private static bool IsTutorialSplit(string folder) => Directory.Exists(folder + AnnotationSuffix);

    private static ImmutableArray<Entry> Entries(string root, string split)
    {
        if (Directory.Exists(root) && Directory.EnumerateDirectories(root).Any(IsTutorialSplit))
        {
            string list = Path.Combine(root, split + ListExtension);
            if (File.Exists(list)) return FromList(list);
            string images = Path.Combine(root, split), labels = images + AnnotationSuffix;
            RequireSplit(images, split, root, IsTutorialSplit);
            RequireFolder(labels, "split's label PNGs");
            return Pair(images, labels, Map);
        }
        return SplitFolders(root, split, Map);
    }

    private static ImmutableArray<Entry> FromList(string list)
    {
        try
        {
            return [.. ListFile.Read(list).Select(e => new Entry(Path.GetFileNameWithoutExtension(e.Image), e.Image, e.Label, Map))];
        }
        catch (Exception e) when (e is DataFormatException or IOException or UnauthorizedAccessException)
        {
            throw new DatasetException(list, e);
        }
    }
}
