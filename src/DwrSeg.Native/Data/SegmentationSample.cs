namespace DwrSeg.Native.Data;

/// <summary>An image and the class of each of its pixels.</summary>
public sealed class SegmentationSample
{
    /// <summary>The label of pixels that have no class, whatever the data set's files write for it.</summary>
    public const byte Ignore = 255;

    /// <summary>Joins an image and its labels; the arrays are kept, not copied.</summary>
    /// <param name="name">Name within the data set, for messages and output files.</param>
    /// <param name="width">Pixels per row.</param>
    /// <param name="height">Rows.</param>
    /// <param name="rgb">8-bit sRGB, 3·width·height bytes, rows from the top without gaps.</param>
    /// <param name="labels">Train id of each pixel or <see cref="Ignore"/>, width·height bytes.</param>
    /// <exception cref="ArgumentException">A length does not fit the size.</exception>
    public SegmentationSample(string name, int width, int height, byte[] rgb, byte[] labels)
    {
        ArgumentNullException.ThrowIfNull(rgb);
        ArgumentNullException.ThrowIfNull(labels);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(width);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(height);
        long pixels = (long)width * height;
        if (rgb.Length != 3 * pixels || labels.Length != pixels)
        {
            throw new ArgumentException(
                $"{name}: {width}x{height} needs {3 * pixels} image and {pixels} label bytes, found {rgb.Length} and {labels.Length}");
        }
        Name = name;
        Width = width;
        Height = height;
        Rgb = rgb;
        Labels = labels;
    }

    /// <summary>Name within the data set.</summary>
    public string Name { get; }

    /// <summary>Pixels per row.</summary>
    public int Width { get; }

    /// <summary>Rows.</summary>
    public int Height { get; }

    /// <summary>8-bit sRGB, 3·Width·Height bytes, rows from the top without gaps.</summary>
    public byte[] Rgb { get; }

    /// <summary>Train id of each pixel or <see cref="Ignore"/>, Width·Height bytes.</summary>
    public byte[] Labels { get; }
}
