using System.Collections.Immutable;
using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Data;

/// <summary>Several data sets with the same classes, one after the other.</summary>
public sealed class JoinedDataset : SegmentationDataset
{
    private readonly ImmutableArray<SegmentationDataset> _parts;
    private readonly int[] _ends;

    /// <summary>Joins data sets; the first one's classes stand for all.</summary>
    /// <param name="parts">At least one.</param>
    /// <param name="name">Name of the whole; by default the parts' names joined by <c>+</c>.</param>
    /// <exception cref="DatasetException">Two parts' class names differ.</exception>
    public JoinedDataset(IEnumerable<SegmentationDataset> parts, string? name = null)
    {
        _parts = [.. parts];
        if (_parts.IsEmpty) throw new ArgumentException("needs at least one data set", nameof(parts));
        _ends = new int[_parts.Length];
        int end = 0;
        for (int i = 0; i < _parts.Length; i++)
        {
            if (!_parts[i].Classes.Names.SequenceEqual(Classes.Names, StringComparer.Ordinal))
            {
                throw new DatasetException(_parts[i].Name, $"its classes ({string.Join(", ", _parts[i].Classes.Names)}) differ from " +
                    $"{_parts[0].Name}'s ({string.Join(", ", Classes.Names)}); only data sets with the same classes in the same order " +
                    "can be joined");
            }
            _ends[i] = end = checked(end + _parts[i].Count);
        }
        Name = name ?? string.Join('+', _parts.Select(part => part.Name));
    }

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override ClassList Classes => _parts[0].Classes;

    /// <inheritdoc/>
    public override int Count => _ends[^1];

    /// <inheritdoc/>
    public override bool HasLabels => _parts.All(part => part.HasLabels);

    /// <inheritdoc/>
    public override string SampleName(int index)
    {
        (SegmentationDataset part, int i) = Find(index);
        return part.SampleName(i);
    }

    /// <inheritdoc/>
    public override SegmentationSample Load(int index)
    {
        (SegmentationDataset part, int i) = Find(index);
        return part.Load(i);
    }

    /// <inheritdoc/>
    public override (int Width, int Height) SizeOf(int index)
    {
        (SegmentationDataset part, int i) = Find(index);
        return part.SizeOf(i);
    }

    internal override string IdentityOf(int index)
    {
        (SegmentationDataset part, int i) = Find(index);
        return part.IdentityOf(i);
    }

    /// <summary>The data set that a sample comes from.</summary>
    internal SegmentationDataset PartOf(int index) => Find(index).Part;

    private (SegmentationDataset Part, int Index) Find(int index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, Count);
        int part = 0;
        while (index >= _ends[part]) part++;
        return (_parts[part], part == 0 ? index : index - _ends[part - 1]);
    }
}
