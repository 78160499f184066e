using DwrSeg.Native.Formats;

namespace DwrSeg.Native;

/// <summary>Paints class colours over an image.</summary>
internal static class ClassOverlay
{
    /// <summary>Blends; a pixel whose id is no class (ignored) stays as it is.</summary>
    /// <param name="rgb">3 bytes a pixel.</param>
    /// <param name="ids">One a pixel.</param>
    /// <param name="classes">Whose colours are taken.</param>
    /// <param name="opacity">Of the colours, 0 to 1.</param>
    /// <param name="blended">As long as <paramref name="rgb"/>.</param>
    public static void Blend(ReadOnlySpan<byte> rgb, ReadOnlySpan<byte> ids, ClassList classes, double opacity, Span<byte> blended)
    {
        if (opacity is not (>= 0 and <= 1)) throw new ArgumentOutOfRangeException(nameof(opacity), opacity, "0 to 1 is possible.");
        // 8-bit fixed point: out = (image · (256 − w) + colour · w + 128) / 256.
        int weight = (int)Math.Round(opacity * 256);
        for (int i = 0; i < ids.Length; i++)
        {
            ReadOnlySpan<byte> from = rgb.Slice(i * 3, 3);
            Span<byte> to = blended.Slice(i * 3, 3);
            if (ids[i] >= classes.Count)
            {
                from.CopyTo(to);
                continue;
            }
            Rgb color = classes.Colors[ids[i]];
            to[0] = Mix(from[0], color.R, weight);
            to[1] = Mix(from[1], color.G, weight);
            to[2] = Mix(from[2], color.B, weight);
        }
    }

    private static byte Mix(byte image, byte color, int weight) => (byte)((image * (256 - weight) + color * weight + 128) >> 8);
}
