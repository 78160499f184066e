using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Data;

/// <summary>Scenes of <see cref="SceneGenerator"/>, drawn when they are loaded.</summary>
public sealed class GeneratedDataset : SegmentationDataset
{
    private readonly ulong _seed;
    private readonly int _width, _height;

    /// <summary>The first scenes of a series.</summary>
    /// <param name="seed">Chooses the series.</param>
    /// <param name="count">Number of scenes, at least 1.</param>
    /// <param name="width">Pixels per row, 16 to 8192.</param>
    /// <param name="height">Rows, 16 to 8192.</param>
    /// <exception cref="ArgumentOutOfRangeException">The count or a side is out of range.</exception>
    public GeneratedDataset(ulong seed, int count, int width = 480, int height = 360)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        SceneGenerator.CheckSize(width, height);
        (_seed, Count, _width, _height) = (seed, count, width, height);
    }

    /// <inheritdoc/>
    public override string Name => $"scenes/{_seed}";

    /// <inheritdoc/>
    public override ClassList Classes => SceneGenerator.Classes;

    /// <inheritdoc/>
    public override int Count { get; }

    /// <inheritdoc/>
    public override string SampleName(int index)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)Count, nameof(index));
        return SceneGenerator.NameOf(index);
    }

    /// <inheritdoc/>
    public override SegmentationSample Load(int index)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)Count, nameof(index));
        return SceneGenerator.Generate(_seed, index, _width, _height);
    }

    /// <inheritdoc/>
    public override (int Width, int Height) SizeOf(int index) => (_width, _height);

    internal override string IdentityOf(int index) => $"{SampleName(index)} {_width}x{_height}";
}
