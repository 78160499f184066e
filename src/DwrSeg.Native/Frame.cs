namespace DwrSeg.Native;

/// <summary>An image on its way through <see cref="Segmenter.RunAsync"/>: raw pixels, and memory for the result, both the caller's.</summary>
public readonly record struct Frame
{
    /// <summary>8-bit pixels, rows from top to bottom. Read before the next frame is asked for.</summary>
    public required ReadOnlyMemory<byte> Pixels { get; init; }

    /// <summary>Pixels in a row, 1 to <see cref="Segmenter.MaxSide"/>.</summary>
    public required int Width { get; init; }

    /// <summary>Rows, 1 to <see cref="Segmenter.MaxSide"/>.</summary>
    public required int Height { get; init; }

    /// <summary>Bytes from the start of a row to the start of the next; 0: rows without padding.</summary>
    public int RowBytes { get; init; }

    /// <summary>The order of a pixel's bytes.</summary>
    public PixelFormat Format { get; init; }

    /// <summary>Receives Width · Height class ids, rows from top to bottom without padding. Valid when the frame comes out.</summary>
    public required Memory<byte> Classes { get; init; }

    /// <summary>Empty, or receives for each pixel its class's softmax probability in 1/255.</summary>
    public Memory<byte> Confidence { get; init; }
}
