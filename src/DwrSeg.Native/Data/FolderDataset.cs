using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Data;

/// <summary>
/// Own data: <c>{root}/classes.json</c> (see <see cref="ClassList"/>), <c>{root}/{split}/images</c> with PNG or JPEG images and
/// <c>{root}/{split}/labels</c> with 8-bit PNGs of the same base names, whose values are class ids or the list's ignore id.
/// </summary>
public sealed class FolderDataset : FileDataset
{
    internal const string ClassesFile = "classes.json";

    /// <summary>Opens one split.</summary>
    /// <exception cref="DatasetException">A folder, a label file or a sound class list is missing.</exception>
    public FolderDataset(string root, string split) : this(root, split, ReadClasses(root))
    {
    }

    private FolderDataset(string root, string split, ClassList classes)
        : base(NameOf(root, split), classes, SplitFolders(root, split, LabelMap.TrainIds(classes.Count, classes.IgnoreId)))
    {
    }

    private static ClassList ReadClasses(string root)
    {
        string path = Path.Combine(root, ClassesFile);
        try
        {
            return ClassList.Load(path);
        }
        catch (Exception e) when (e is DataFormatException or IOException or UnauthorizedAccessException)
        {
            throw new DatasetException(path, e);
        }
    }
}
