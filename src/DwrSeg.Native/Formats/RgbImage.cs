namespace DwrSeg.Native.Formats;

/// <summary>An 8-bit RGB image, rows top to bottom without padding; its buffer is kept when it becomes smaller.</summary>
internal sealed class RgbImage
{
    private byte[] _pixels = [];

    public RgbImage()
    {
    }

    public RgbImage(int width, int height) => Resize(width, height);

    public int Width { get; private set; }

    public int Height { get; private set; }

    /// <summary>Width · Height · 3 bytes: r, g, b of the first pixel, then of the one to its right.</summary>
    public Span<byte> Pixels => _pixels.AsSpan(0, Width * Height * 3);

    /// <summary>Sets the size; the pixels' values are then undefined.</summary>
    public void Resize(int width, int height)
    {
        int length = checked(width * height * 3);
        if (_pixels.Length < length) _pixels = GC.AllocateUninitializedArray<byte>(length);
        (Width, Height) = (width, height);
    }
}
