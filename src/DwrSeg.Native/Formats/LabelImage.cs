namespace DwrSeg.Native.Formats;

/// <summary>One class id per pixel, rows top to bottom without padding; its buffer is kept when it becomes smaller.</summary>
internal sealed class LabelImage
{
    private byte[] _ids = [];

    public LabelImage()
    {
    }

    public LabelImage(int width, int height) => Resize(width, height);

    public int Width { get; private set; }

    public int Height { get; private set; }

    /// <summary>Width · Height class ids.</summary>
    public Span<byte> Ids => _ids.AsSpan(0, Width * Height);

    /// <summary>Sets the size; the ids are then undefined.</summary>
    public void Resize(int width, int height)
    {
        int length = checked(width * height);
        if (_ids.Length < length) _ids = GC.AllocateUninitializedArray<byte>(length);
        (Width, Height) = (width, height);
    }
}
