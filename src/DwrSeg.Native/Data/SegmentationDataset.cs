using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Data;

/// <summary>Labelled images, by index. <see cref="Load"/> may be called from several threads at once.</summary>
public abstract class SegmentationDataset
{
    /// <summary>What messages and reports call it, such as <c>camvid/train</c>.</summary>
    public abstract string Name { get; }

    /// <summary>The classes that labels refer to.</summary>
    public abstract ClassList Classes { get; }

    /// <summary>Number of samples, at least 1.</summary>
    public abstract int Count { get; }

    /// <summary>
    /// Whether labels say anything. False for Cityscapes' test split, whose annotation is not public: every label is then
    /// <see cref="SegmentationSample.Ignore"/>.
    /// </summary>
    public virtual bool HasLabels => true;

    /// <summary>Name of a sample: the image's file name without extension and suffix.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The index is not in [0, <see cref="Count"/>).</exception>
    public abstract string SampleName(int index);

    /// <summary>Decodes one sample, with labels as train ids and <see cref="SegmentationSample.Ignore"/>.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The index is not in [0, <see cref="Count"/>).</exception>
    /// <exception cref="DatasetException">A file is missing or broken, the sizes differ, or a label is no id of the data set.</exception>
    public abstract SegmentationSample Load(int index);

    /// <summary>Width and height of a sample's image, without decoding it where the format allows.</summary>
    /// <inheritdoc cref="Load" path="/exception"/>
    public virtual (int Width, int Height) SizeOf(int index)
    {
        SegmentationSample sample = Load(index);
        return (sample.Width, sample.Height);
    }

    /// <summary>What tells a sample from another one of the same name, as far as that is known without reading it.</summary>
    internal virtual string IdentityOf(int index) => SampleName(index);

    /// <summary>Opens a data set's folder, telling by what lies in it which kind it is.</summary>
    /// <param name="root">
    /// A folder with <c>classes.json</c> (<see cref="FolderDataset"/>), <c>leftImg8bit</c> (<see cref="CityscapesDataset"/>), or CamVid
    /// in either of its layouts (<see cref="CamVidDataset"/>).
    /// </param>
    /// <param name="split">A split, such as <c>val</c>, or several joined by <c>+</c>, such as <c>train+val</c>.</param>
    /// <exception cref="DatasetException">The folder, the split or its labels are missing, or the kind cannot be told.</exception>
    public static SegmentationDataset Open(string root, string split)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(root);
        ArgumentException.ThrowIfNullOrWhiteSpace(split);
        if (!Directory.Exists(root)) throw new DatasetException(root, "no such folder; give the data set's root");
        string[] splits = split.Split('+', StringSplitOptions.TrimEntries);
        foreach (string one in splits)
        {
            if (one.Length == 0 || one is "." or ".." || one.AsSpan().ContainsAny('/', '\\'))
            {
                throw new DatasetException(root, $"'{split}' is no split; give a name such as train, or several as train+val");
            }
        }
        if (splits.Distinct(StringComparer.Ordinal).Count() != splits.Length)
        {
            throw new DatasetException(root, $"'{split}' names a split twice");
        }
        SegmentationDataset[] parts = [.. splits.Select(one => OpenOne(root, one))];
        return parts.Length == 1 ? parts[0] : new JoinedDataset(parts, $"{FileDataset.RootName(root)}/{string.Join('+', splits)}");
    }

    private static SegmentationDataset OpenOne(string root, string split)
    {
        if (File.Exists(Path.Combine(root, FolderDataset.ClassesFile))) return new FolderDataset(root, split);
        if (Directory.Exists(Path.Combine(root, CityscapesDataset.ImagesFolder))) return new CityscapesDataset(root, split);
        if (CamVidDataset.Recognises(root)) return new CamVidDataset(root, split);
        IEnumerable<string?> names = Directory.EnumerateFileSystemEntries(root).Select(Path.GetFileName).Order(StringComparer.Ordinal);
        string found = string.Join(", ", names.Take(8));
        throw new DatasetException(root, $"holds {(found.Length == 0 ? "nothing" : found)}, which is no known data set; expected " +
            "classes.json (own data), leftImg8bit/ (Cityscapes), train/images/ or trainannot/ (CamVid)");
    }
}
