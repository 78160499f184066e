using System.Buffers;
using SkiaSharp;

namespace DwrSeg.Native.Formats;

/// <summary>
/// Decodes images to 8-bit RGB and label images to class ids, and writes both as PNG. Sizes are checked before pixels are decoded,
/// and an image that breaks off is an error, never a part of a picture.
/// </summary>
/// <remarks>
/// Values are taken as stored: embedded colour profiles are not applied and alpha is dropped, as training pipelines do. Grey is
/// repeated in the three channels, 16 bits are cut to 8, and EXIF orientation is applied.
/// </remarks>
internal static class ImageCodec
{
    public const long DefaultMaxPixels = 100_000_000;

    // Byte offsets into RGBA pixels are 32-bit.
    private const long MaxAddressablePixels = 500_000_000;
    private const int MaxFileBytes = 1 << 29;

    /// <summary>Decodes an image file into <paramref name="into"/>, or into a new image.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    /// <exception cref="ImageFormatException">Unknown format, damaged, cut short, or larger than <paramref name="maxPixels"/>.</exception>
    public static RgbImage Decode(string path, RgbImage? into = null, long maxPixels = DefaultMaxPixels)
    {
        using Encoded file = Encoded.Read(path);
        return Decode(file.Bytes, path, into, maxPixels);
    }

    /// <summary>Decodes the rest of a stream, which need not be seekable and is left open.</summary>
    /// <inheritdoc cref="Decode(string, RgbImage?, long)"/>
    public static RgbImage Decode(Stream stream, string name, RgbImage? into = null, long maxPixels = DefaultMaxPixels)
    {
        using Encoded file = Encoded.Read(stream, name);
        return Decode(file.Bytes, name, into, maxPixels);
    }

    /// <inheritdoc cref="Decode(string, RgbImage?, long)"/>
    public static unsafe RgbImage Decode(ReadOnlySpan<byte> encoded, string name, RgbImage? into = null, long maxPixels = DefaultMaxPixels)
    {
        maxPixels = Math.Min(maxPixels, MaxAddressablePixels);
        if (encoded.IsEmpty) throw new ImageFormatException(name, "is empty");
        fixed (byte* bytes = encoded)
        {
            using SKData data = SKData.Create((IntPtr)bytes, encoded.Length);
            using SKCodec codec = SKCodec.Create(data) ?? throw new ImageFormatException(name,
                "is no image that can be decoded (JPEG, PNG, WebP, BMP, GIF), or its header is damaged");
            (int width, int height) = (codec.Info.Width, codec.Info.Height);
            if (width <= 0 || height <= 0) throw new ImageFormatException(name, $"has no pixels ({width} x {height})");
            if ((long)width * height > maxPixels)
            {
                throw new ImageFormatException(name, $"{width} x {height} pixels exceed the limit of {maxPixels}; scale it down first");
            }
            // The decoder fills what is missing at the very end with grey and calls it a success.
            if (codec.EncodedFormat == SKEncodedImageFormat.Jpeg && !JpegMarkers.IsComplete(encoded)) throw CutShort(name);
            byte[] rgba = ArrayPool<byte>.Shared.Rent(checked(width * height * 4));
            try
            {
                fixed (byte* pixels = rgba)
                {
                    SKImageInfo info = new(width, height, SKColorType.Rgba8888, SKAlphaType.Unpremul, null);
                    SKCodecResult result = codec.GetPixels(info, (IntPtr)pixels);
                    if (result == SKCodecResult.IncompleteInput) throw CutShort(name);
                    if (result != SKCodecResult.Success) throw new ImageFormatException(name, $"is damaged: decoding failed ({result})");
                }
                into ??= new RgbImage();
                Pack(rgba, width, height, codec.EncodedOrigin, into);
                return into;
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(rgba);
            }
        }
    }

    /// <summary>Decodes a label file: the exact values of a grey PNG or the indices of a palette PNG.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    /// <exception cref="ImageFormatException">Not a single-channel PNG, damaged, or larger than <paramref name="maxPixels"/>.</exception>
    public static LabelImage DecodeLabels(string path, LabelImage? into = null, long maxPixels = DefaultMaxPixels)
    {
        using Encoded file = Encoded.Read(path);
        return DecodeLabels(file.Bytes, path, into, maxPixels);
    }

    /// <inheritdoc cref="DecodeLabels(string, LabelImage?, long)"/>
    public static LabelImage DecodeLabels(
        ReadOnlySpan<byte> encoded, string name, LabelImage? into = null, long maxPixels = DefaultMaxPixels)
    {
        into ??= new LabelImage();
        PngLabelReader.Read(encoded, name, into, Math.Min(maxPixels, MaxAddressablePixels));
        return into;
    }

    /// <summary>Writes class ids as 8-bit grey PNG, whole or not at all.</summary>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public static void SaveLabels(string path, int width, int height, ReadOnlySpan<byte> ids) => Save(path, width, height, 1, ids);

    /// <summary>Writes an RGB PNG, whole or not at all.</summary>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public static void SaveRgb(string path, int width, int height, ReadOnlySpan<byte> pixels) => Save(path, width, height, 3, pixels);

    private static void Save(string path, int width, int height, int channels, ReadOnlySpan<byte> pixels)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(height, 1);
        if ((long)width * height * channels != pixels.Length)
        {
            throw new ArgumentException($"{path}: {pixels.Length} bytes are not {width} x {height} x {channels}", nameof(pixels));
        }
        using MemoryStream encoded = new();
        PngWriter.Write(encoded, width, height, channels, pixels);
        AtomicFile.Write(path, encoded.WriteTo);
    }

    private static ImageFormatException CutShort(string name) => new(name, "breaks off before the last pixel; copy or export it again");

    private static void Pack(ReadOnlySpan<byte> rgba, int width, int height, SKEncodedOrigin origin, RgbImage into)
    {
        bool turned = origin >= SKEncodedOrigin.LeftTop;
        into.Resize(turned ? height : width, turned ? width : height);
        int stride = into.Width, right = width - 1, bottom = height - 1;
        // Where the stored image's first pixel goes, and how far a step along its rows and columns leads, in pixels.
        (int start, int stepX, int stepY) = origin switch
        {
            SKEncodedOrigin.TopRight => (right, -1, stride),
            SKEncodedOrigin.BottomRight => (bottom * stride + right, -1, -stride),
            SKEncodedOrigin.BottomLeft => (bottom * stride, 1, -stride),
            SKEncodedOrigin.LeftTop => (0, stride, 1),
            SKEncodedOrigin.RightTop => (bottom, stride, -1),
            SKEncodedOrigin.RightBottom => (right * stride + bottom, -stride, -1),
            SKEncodedOrigin.LeftBottom => (right * stride, -stride, 1),
            _ => (0, 1, stride),
        };
        Span<byte> pixels = into.Pixels;
        for (int y = 0; y < height; y++)
        {
            ReadOnlySpan<byte> row = rgba.Slice(y * width * 4, width * 4);
            int target = (start + y * stepY) * 3;
            for (int x = 0; x < row.Length; x += 4, target += stepX * 3)
            {
                pixels[target] = row[x];
                pixels[target + 1] = row[x + 1];
                pixels[target + 2] = row[x + 2];
            }
        }
    }

    /// <summary>An encoded file in a rented buffer.</summary>
    private readonly ref struct Encoded(byte[] buffer, int length)
    {
        public ReadOnlySpan<byte> Bytes => buffer.AsSpan(0, length);

        public static Encoded Read(string path)
        {
            ArgumentException.ThrowIfNullOrEmpty(path);
            if (Directory.Exists(path)) throw new ImageFormatException(path, "is a folder; give an image file");
            if (!File.Exists(path)) throw new FileNotFoundException($"{path}: no such image file", path);
            using FileStream stream = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            return Read(stream, path);
        }

        public static Encoded Read(Stream stream, string name)
        {
            long expected = stream.CanSeek ? stream.Length - stream.Position : 1 << 16;
            if (expected > MaxFileBytes) throw TooLarge(name);
            byte[] buffer = ArrayPool<byte>.Shared.Rent((int)Math.Max(expected + 1, 1 << 12));
            int length = 0;
            try
            {
                while (true)
                {
                    int count = stream.Read(buffer, length, buffer.Length - length);
                    if (count == 0) return new Encoded(buffer, length);
                    length += count;
                    if (length > MaxFileBytes) throw TooLarge(name);
                    if (length < buffer.Length) continue;
                    byte[] larger = ArrayPool<byte>.Shared.Rent(buffer.Length * 2);
                    buffer.AsSpan(0, length).CopyTo(larger);
                    ArrayPool<byte>.Shared.Return(buffer);
                    buffer = larger;
                }
            }
            catch
            {
                ArrayPool<byte>.Shared.Return(buffer);
                throw;
            }
        }

        public void Dispose() => ArrayPool<byte>.Shared.Return(buffer);

        private static ImageFormatException TooLarge(string name) =>
            new(name, $"is larger than {MaxFileBytes} bytes: is it an image?");
    }
}
