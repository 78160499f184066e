using DwrSeg.Native.Backends;
using DwrSeg.Native.Formats;

namespace DwrSeg.Native;

/// <summary>Paints class colours over an image.</summary>
internal static class ClassOverlay
{
    /// <summary>Blends; a pixel whose id is no class (ignored) stays as it is.</summary>
    /// <param name="image">Its fourth bytes, where there are any, are copied.</param>
    /// <param name="ids">One a pixel.</param>
    /// <param name="classes">Whose colours are taken.</param>
    /// <param name="opacity">Of the colours, 0 to 1.</param>
    /// <param name="blended">Laid out as the image; may be its memory. Bytes between rows are left alone.</param>
    public static void Blend(in ImageView image, ReadOnlySpan<byte> ids, ClassList classes, double opacity, Span<byte> blended)
    {
        if (opacity is not (>= 0 and <= 1)) throw new ArgumentOutOfRangeException(nameof(opacity), opacity, "0 to 1 is possible.");
        // 8-bit fixed point: out = (image · (256 − w) + colour · w + 128) / 256.
        int weight = (int)Math.Round(opacity * 256), pixelBytes = image.Format.BytesPerPixel();
        bool isBlueFirst = image.Format is PixelFormat.Bgr or PixelFormat.Bgra;
        for (int y = 0; y < image.Height; y++)
        {
            ReadOnlySpan<byte> from = image.Pixels.Slice(y * image.RowBytes, image.Width * pixelBytes);
            Span<byte> to = blended.Slice(y * image.RowBytes, from.Length);
            ReadOnlySpan<byte> row = ids.Slice(y * image.Width, image.Width);
            for (int x = 0, i = 0; x < row.Length; x++, i += pixelBytes)
            {
                if (pixelBytes == 4) to[i + 3] = from[i + 3];
                if (row[x] >= classes.Count)
                {
                    from.Slice(i, 3).CopyTo(to[i..]);
                    continue;
                }
                Rgb color = classes.Colors[row[x]];
                to[i] = Mix(from[i], isBlueFirst ? color.B : color.R, weight);
                to[i + 1] = Mix(from[i + 1], color.G, weight);
                to[i + 2] = Mix(from[i + 2], isBlueFirst ? color.R : color.B, weight);
            }
        }
    }

    private static byte Mix(byte image, byte color, int weight) => (byte)((image * (256 - weight) + color * weight + 128) >> 8);
}
