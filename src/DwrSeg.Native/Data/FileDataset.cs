using System.Collections.Immutable;
using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Data;

/// <summary>A data set of image and label files.</summary>
public abstract class FileDataset : SegmentationDataset
{
    internal const string Images = "images";
    internal const string Labels = "labels";
    private const string LabelExtension = ".png";
    private static readonly string[] ImageExtensions = [".png", ".jpg", ".jpeg"];

    private readonly ImmutableArray<Entry> _entries;

    private protected FileDataset(string name, ClassList classes, ImmutableArray<Entry> entries)
    {
        Name = name;
        Classes = classes;
        _entries = entries;
    }

    /// <summary>One sample's files; without a label file all labels are <see cref="SegmentationSample.Ignore"/>.</summary>
    private protected sealed record Entry(string Name, string ImageFile, string? LabelFile, LabelMap Map);

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override ClassList Classes { get; }

    /// <inheritdoc/>
    public override int Count => _entries.Length;

    /// <inheritdoc/>
    public override string SampleName(int index) => At(index).Name;

    /// <inheritdoc/>
    public override SegmentationSample Load(int index)
    {
        Entry entry = At(index);
        RgbImage image = Read(entry.ImageFile, path => ImageCodec.Decode(path));
        byte[] trainIds = new byte[image.Width * image.Height];
        if (entry.LabelFile is null)
        {
            trainIds.AsSpan().Fill(SegmentationSample.Ignore);
        }
        else
        {
            LabelImage labels = Read(entry.LabelFile, path => ImageCodec.DecodeLabels(path));
            if (labels.Width != image.Width || labels.Height != image.Height)
            {
                throw new DatasetException(entry.LabelFile, $"is {labels.Width}x{labels.Height} but its image {entry.ImageFile} is " +
                    $"{image.Width}x{image.Height}; resize one to the other (labels without interpolation)");
            }
            entry.Map.Apply(labels.Ids, labels.Width, trainIds, entry.LabelFile);
        }
        return new SegmentationSample(entry.Name, image.Width, image.Height, image.Pixels.ToArray(), trainIds);
    }

    internal override string IdentityOf(int index)
    {
        Entry entry = At(index);
        return $"{entry.Name} {SizeOf(entry.ImageFile)} {(entry.LabelFile is { } labels ? SizeOf(labels) : 0)}";
    }

    internal static string RootName(string root) => Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(root)));

    private protected static string NameOf(string root, string split) => $"{RootName(root)}/{split}";

    /// <summary>The layout <c>{split}/images</c> and <c>{split}/labels</c>.</summary>
    private protected static ImmutableArray<Entry> SplitFolders(string root, string split, LabelMap map)
    {
        RequireSplit(Path.Combine(root, split), split, root, path => Directory.Exists(Path.Combine(path, Images)));
        string images = Path.Combine(root, split, Images), labels = Path.Combine(root, split, Labels);
        RequireFolder(images, "split's images");
        RequireFolder(labels, "split's label PNGs");
        return Pair(images, labels, map);
    }

    /// <summary>Pairs each image of a folder with the label file of the same base name.</summary>
    private protected static ImmutableArray<Entry> Pair(string images, string labels, LabelMap map)
    {
        SortedDictionary<string, string> byName = new(StringComparer.Ordinal);
        foreach (string file in Directory.EnumerateFiles(images))
        {
            if (!ImageExtensions.Contains(Path.GetExtension(file), StringComparer.OrdinalIgnoreCase) || IsHidden(file)) continue;
            string name = Path.GetFileNameWithoutExtension(file);
            if (!byName.TryAdd(name, file))
            {
                throw new DatasetException(file, $"has the same name as {byName[name]}; both would share one label file, so remove one");
            }
        }
        if (byName.Count == 0) throw new DatasetException(images, "holds no .png or .jpg image; put the split's images there");
        ImmutableArray<Entry>.Builder entries = ImmutableArray.CreateBuilder<Entry>(byName.Count);
        foreach ((string name, string image) in byName)
        {
            string label = Path.Combine(labels, name + LabelExtension);
            RequireLabel(label, image);
            entries.Add(new Entry(name, image, label, map));
        }
        return entries.MoveToImmutable();
    }

    // Other systems leave files such as ._name.png beside real images.
    private protected static bool IsHidden(string file) => Path.GetFileName(file.AsSpan()).StartsWith(".");

    private protected static void RequireLabel(string label, string image)
    {
        if (!File.Exists(label)) throw new DatasetException(label, $"no such label file for image {image}; add it or remove the image");
    }

    private protected static void RequireFolder(string folder, string purpose)
    {
        if (!Directory.Exists(folder)) throw new DatasetException(folder, $"no such folder; the {purpose} belong there");
    }

    /// <summary>Names the splits there are when the one asked for is not.</summary>
    private protected static void RequireSplit(string folder, string split, string parent, Func<string, bool> isSplit)
    {
        if (Directory.Exists(folder)) return;
        string[] others = Directory.Exists(parent) ? [.. Directory.EnumerateDirectories(parent).Where(isSplit)] : [];
        others = [.. others.Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];
        throw new DatasetException(folder, $"no such folder for split '{split}'; " +
            (others.Length == 0 ? "there are no splits" : $"there are {string.Join(", ", others.Take(8))}"));
    }

    private Entry At(int index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, Count);
        return _entries[index];
    }

    private static long SizeOf(string file) =>
        new FileInfo(file) is { Exists: true } info ? info.Length : throw new DatasetException(file, "no such file; was it removed?");

    private static T Read<T>(string path, Func<string, T> decode)
    {
        try
        {
            return decode(path);
        }
        catch (Exception e) when (e is ImageFormatException or IOException or UnauthorizedAccessException)
        {
            throw new DatasetException(path, e);
        }
    }
}
