using DwrSeg.Native.Backends;
using DwrSeg.Native.Formats;

namespace DwrSeg.Native;

/// <summary>The result of segmenting one image: a class for each of its pixels.</summary>
public sealed class Segmentation
{
    private readonly RgbImage _image;
    private readonly byte[] _classes;
    private readonly byte[] _confidence;

    internal Segmentation(RgbImage image, byte[] classes, byte[] confidence, ClassList classList)
    {
        (_image, _classes, _confidence, ClassList) = (image, classes, confidence, classList);
    }

    /// <summary>The image's width in pixels.</summary>
    public int Width => _image.Width;

    /// <summary>The image's height in pixels.</summary>
    public int Height => _image.Height;

    /// <summary>Names and colours of the classes.</summary>
    public ClassList ClassList { get; }

    /// <summary>Width · Height class ids, 0 … ClassList.Count−1, rows from top to bottom: the pixel (x, y) is at y · Width + x.</summary>
    public ReadOnlyMemory<byte> Classes => _classes;

    /// <summary>For each pixel its class's softmax probability in 1/255; empty where it was not asked for.</summary>
    public ReadOnlyMemory<byte> Confidence => _confidence;

    /// <summary>The class of a pixel.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The pixel is not in the image.</exception>
    public int this[int x, int y]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfNegative(x);
            ArgumentOutOfRangeException.ThrowIfNegative(y);
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(x, Width);
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(y, Height);
            return _classes[y * Width + x];
        }
    }

    /// <summary>The share of the image's pixels that each class has, by id; they sum to 1.</summary>
    public double[] ClassShares()
    {
        long[] counts = new long[256];
        foreach (byte id in _classes) counts[id]++;
        return [.. counts.Take(ClassList.Count).Select(count => (double)count / _classes.Length)];
    }

    /// <summary>Writes the class ids as an 8-bit grey PNG of the image's size; the file appears whole or not at all.</summary>
    /// <exception cref="IOException">The file can't be written.</exception>
    public void SaveClasses(string path) => ImageCodec.SaveLabels(path, Width, Height, _classes);

    /// <summary>The image with each pixel blended with its class's colour.</summary>
    /// <param name="opacity">Of the colours, 0 (the image alone) to 1 (the colours alone).</param>
    /// <returns>Width · Height · 3 bytes, red, green, blue, rows from top to bottom without padding.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The opacity is out of range.</exception>
    public byte[] Overlay(double opacity = 0.5)
    {
        byte[] blended = new byte[_classes.Length * 3];
        ClassOverlay.Blend(new ImageView(_image.Pixels, Width, Height, Width * 3, PixelFormat.Rgb), _classes, ClassList, opacity, blended);
        return blended;
    }

    /// <summary>Writes the overlay as PNG; the file appears whole or not at all.</summary>
    /// <param name="path">The file.</param>
    /// <param name="opacity">Of the colours, 0 to 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">The opacity is out of range.</exception>
    /// <exception cref="IOException">The file can't be written.</exception>
    public void SaveOverlay(string path, double opacity = 0.5) => ImageCodec.SaveRgb(path, Width, Height, Overlay(opacity));
}
