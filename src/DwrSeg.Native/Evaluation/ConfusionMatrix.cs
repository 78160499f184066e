using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace DwrSeg.Native.Evaluation;

/// <summary>
/// Counts of pixels by label and prediction, and the measures that follow from them. Not thread-safe.
/// </summary>
public sealed class ConfusionMatrix
{
    /// <summary>The label of pixels that are not counted.</summary>
    public const byte Ignore = 255;

    // Any two bytes index the table, so the inner loop needs no check; rows of 256 also keep it at a shift and an or.
    private const int Ids = 256;

    private readonly long[] _counts;
    private readonly int[] _added = new int[Ids * Ids];

    /// <summary>Makes an empty matrix.</summary>
    /// <param name="classes">1 to 255.</param>
    /// <exception cref="ArgumentOutOfRangeException">There are no or too many classes.</exception>
    public ConfusionMatrix(int classes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(classes, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(classes, Ids - 1);
        Classes = classes;
        _counts = new long[classes * classes];
    }

    /// <summary>Number of classes.</summary>
    public int Classes { get; }

    /// <summary>Pixels of a label that were predicted as a class.</summary>
    public long this[int label, int predicted]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)label, (uint)Classes, nameof(label));
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)predicted, (uint)Classes, nameof(predicted));
            return _counts[label * Classes + predicted];
        }
    }

    /// <summary>Pixels counted.</summary>
    public long Pixels { get; private set; }

    /// <summary>Pixels whose label was <see cref="Ignore"/>.</summary>
    public long Ignored { get; private set; }

    /// <summary>Counted pixels predicted right, over <see cref="Pixels"/>; NaN when none were counted.</summary>
    public double PixelAccuracy
    {
        get
        {
            long right = 0;
            for (int id = 0; id < Classes; id++) right += this[id, id];
            return (double)right / Pixels;
        }
    }

    /// <summary>
    /// Mean of <see cref="IntersectionOverUnion"/> over the classes that occur in a label or a prediction; NaN when nothing was counted.
    /// </summary>
    public double MeanIntersectionOverUnion
    {
        get
        {
            double sum = 0;
            int present = 0;
            for (int id = 0; id < Classes; id++)
            {
                double value = IntersectionOverUnion(id);
                if (double.IsNaN(value)) continue;
                sum += value;
                present++;
            }
            return sum / present;
        }
    }

    /// <summary>Counts the pixels of an image.</summary>
    /// <param name="predicted">A class id per pixel; what stands where the label is <see cref="Ignore"/> does not matter.</param>
    /// <param name="labels">A class id or <see cref="Ignore"/> per pixel.</param>
    /// <exception cref="ArgumentException">The lengths differ or an id is no class; nothing is then counted.</exception>
    public void Add(ReadOnlySpan<byte> predicted, ReadOnlySpan<byte> labels)
    {
        if (predicted.Length != labels.Length)
        {
            throw new ArgumentException($"{predicted.Length} predictions do not fit {labels.Length} labels");
        }
        Array.Clear(_added);
        ref int table = ref MemoryMarshal.GetArrayDataReference(_added);
        for (int i = 0; i < labels.Length; i++) Unsafe.Add(ref table, labels[i] << 8 | predicted[i])++;
        RequireClasses();
        for (int label = 0; label < Classes; label++)
        {
            for (int id = 0; id < Classes; id++)
            {
                int count = _added[label << 8 | id];
                _counts[label * Classes + id] += count;
                Pixels += count;
            }
        }
        for (int id = 0; id < Ids; id++) Ignored += _added[Ignore << 8 | id];
    }

    /// <summary>
    /// Pixels that both label and prediction give to the class, over those that either does; NaN when neither ever does.
    /// </summary>
    public double IntersectionOverUnion(int id)
    {
        long labelled = 0, predicted = 0;
        for (int other = 0; other < Classes; other++)
        {
            labelled += this[id, other];
            predicted += this[other, id];
        }
        return (double)this[id, id] / (labelled + predicted - this[id, id]);
    }

    private void RequireClasses()
    {
        for (int label = 0; label < Ignore; label++)
        {
            ReadOnlySpan<int> row = _added.AsSpan(label << 8, Ids);
            int id = (label < Classes ? row[Classes..] : row).IndexOfAnyExcept(0);
            if (id < 0) continue;
            throw new ArgumentException(label < Classes
                ? $"prediction {id + Classes} is no class; there are {Classes}"
                : $"label {label} is no class; there are {Classes}, and {Ignore} is ignored");
        }
    }
}
