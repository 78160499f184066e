using System.Runtime.ExceptionServices;
using DwrSeg.Native.Data.Scenes;
using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Data;

/// <summary>
/// Draws street scenes with exact labels in CamVid's 11 classes: a road in perspective, pavements, buildings, trees, street furniture,
/// vehicles and people, under changing light. A scene follows from (seed, index) and the size alone.
/// </summary>
/// <remarks>
/// The scenes are meant for machines without data (to train, test and demonstrate) and for mixing into training; they do not replace
/// photographs. Fences, bare crowns and wheels are labelled as whole regions though the picture shows through them, as in CamVid.
/// </remarks>
public static class SceneGenerator
{
    private const int MaxSide = 8192;

    /// <summary>The classes of the labels: <see cref="ClassList.CamVid"/>.</summary>
    public static ClassList Classes => ClassList.CamVid;

    /// <summary>Draws one scene.</summary>
    /// <param name="seed">Chooses the series.</param>
    /// <param name="index">Number of the scene within it, from 0 on.</param>
    /// <param name="width">Pixels per row, 16 to 8192.</param>
    /// <param name="height">Rows, 16 to 8192.</param>
    /// <exception cref="ArgumentOutOfRangeException">The index or a side is out of range.</exception>
    public static SegmentationSample Generate(ulong seed, int index, int width, int height)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        CheckSize(width, height);
        byte[] rgb = new byte[width * height * 3], labels = new byte[width * height];
        new SceneRenderer(new Street(seed, index), width, height).Render(rgb, labels);
        return new SegmentationSample(NameOf(index), width, height, rgb, labels);
    }

    /// <summary>
    /// Writes scenes 0 … count−1 as a split of a <see cref="FolderDataset"/>: <c>{root}/classes.json</c>, <c>{root}/{split}/images</c> and
    /// <c>{root}/{split}/labels</c>. Each file appears whole or not at all; scenes that are there already are replaced.
    /// </summary>
    /// <param name="root">The data set's folder, created if missing.</param>
    /// <param name="split">Name of the split, such as train.</param>
    /// <param name="count">Number of scenes, at least 1.</param>
    /// <param name="seed">Chooses the series, together with the split: <see cref="SeriesOf"/>.</param>
    /// <param name="width">Pixels per row, 16 to 8192.</param>
    /// <param name="height">Rows, 16 to 8192.</param>
    /// <param name="progress">Told the number of scenes written so far.</param>
    /// <param name="cancellation">Stops between scenes.</param>
    /// <exception cref="ArgumentException">The count, a side or the split's name is out of range.</exception>
    /// <exception cref="DatasetException">The folder holds other classes, or the split holds other images.</exception>
    /// <exception cref="IOException">A file cannot be written.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static void WriteDataset(string root, string split, int count, ulong seed, int width = 480, int height = 360,
        IProgress<int>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(root);
        ArgumentException.ThrowIfNullOrWhiteSpace(split);
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        CheckSize(width, height);
        if (split is "." or ".." || split.AsSpan().ContainsAny("/\\+")) throw new ArgumentException($"'{split}' is no name for a split");
        string images = Path.Combine(root, split, FileDataset.Images), labels = Path.Combine(root, split, FileDataset.Labels);
        OutputFolder.Create(images);
        OutputFolder.Create(labels);
        byte ignore = (byte)PrepareClasses(Path.Combine(root, FolderDataset.ClassesFile)).IgnoreId;
        RefuseOthers(images, count);
        ulong series = SeriesOf(seed, split);
        int written = 0;
        ParallelOptions options = new() { CancellationToken = cancellation };
        try
        {
            Parallel.For(0, count, options, index =>
            {
                SegmentationSample scene = Generate(series, index, width, height);
                byte[] ids = scene.Labels;
                ids.AsSpan().Replace(SegmentationSample.Ignore, ignore);
                ImageCodec.SaveLabels(Path.Combine(labels, scene.Name + ".png"), width, height, ids);
                ImageCodec.SaveRgb(Path.Combine(images, scene.Name + ".png"), width, height, scene.Rgb);
                progress?.Report(Interlocked.Increment(ref written));
            });
        }
        catch (AggregateException e)
        {
            ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }
    }

    /// <summary>
    /// The seed of a split's scenes, so that a data set's splits show different scenes though they are drawn from one seed.
    /// </summary>
    /// <param name="seed">The data set's seed.</param>
    /// <param name="split">Name of the split.</param>
    public static ulong SeriesOf(ulong seed, string split)
    {
        ArgumentNullException.ThrowIfNull(split);
        // FNV-1a over the seed and the name; the scene's own random source mixes the rest.
        const ulong Prime = 0x100000001b3;
        ulong hash = (0xcbf29ce484222325 ^ seed) * Prime;
        foreach (char c in split) hash = (hash ^ c) * Prime;
        return hash;
    }

    internal static string NameOf(int index) => $"scene_{index:D6}";

    internal static void CheckSize(int width, int height)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 16);
        ArgumentOutOfRangeException.ThrowIfLessThan(height, 16);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(width, MaxSide);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(height, MaxSide);
    }

    private static ClassList PrepareClasses(string path)
    {
        if (!File.Exists(path))
        {
            Classes.Save(path);
            return Classes;
        }
        ClassList there;
        try
        {
            there = ClassList.Load(path);
        }
        catch (DataFormatException e)
        {
            throw new DatasetException(path, e);
        }
        if (there.Names.SequenceEqual(Classes.Names)) return there;
        throw new DatasetException(path, $"lists other classes ({string.Join(", ", there.Names)}); write scenes to a folder of their own");
    }

    // Scenes of an earlier, longer series would otherwise stay in the split.
    private static void RefuseOthers(string images, int count)
    {
        HashSet<string> own = [.. Enumerable.Range(0, count).Select(index => NameOf(index) + ".png")];
        string? other = Directory.EnumerateFiles(images).Select(Path.GetFileName)
            .FirstOrDefault(name => !name!.StartsWith('.') && !own.Contains(name));
        if (other is not null) throw new DatasetException(images, $"holds {other}, which is none of the {count} scenes; empty it first");
    }
}
