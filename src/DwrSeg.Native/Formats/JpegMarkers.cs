using System.Buffers.Binary;

namespace DwrSeg.Native.Formats;

/// <summary>Walks a JPEG file's markers (ITU-T T.81, annex B), once, without decoding.</summary>
internal static class JpegMarkers
{
    private const byte Prefix = 0xFF, StartOfImage = 0xD8, EndOfImage = 0xD9, StartOfScan = 0xDA;

    /// <summary>
    /// Whether the first image of the file goes on to its own end. What lies behind the end (a second picture, a film) is not looked at;
    /// pictures within segments, such as thumbnails, are skipped with these.
    /// </summary>
    /// <remarks>An image that breaks off within its pixels and is followed by something else is told by the first marker there that can't
    /// stand in an image that has begun.</remarks>
    public static bool IsComplete(ReadOnlySpan<byte> jpeg)
    {
        if (!jpeg.StartsWith([Prefix, StartOfImage])) return false;
        jpeg = jpeg[2..];
        bool hasScan = false;
        while (true)
        {
            // Compressed pixels are skipped like any byte that is no marker: within them 0xFF is followed by 0.
            int next = jpeg.IndexOf(Prefix);
            if (next < 0) return false;
            jpeg = jpeg[next..];
            int marker = jpeg.IndexOfAnyExcept(Prefix);
            if (marker < 0) return false;
            byte code = jpeg[marker];
            jpeg = jpeg[(marker + 1)..];
            if (IsPartOfPixels(code)) continue;
            if (code == EndOfImage) return hasScan;
            if (!CanStand(code, hasScan) || !BinaryPrimitives.TryReadUInt16BigEndian(jpeg, out ushort length)) return false;
            if (length < 2 || length > jpeg.Length) return false;
            hasScan |= code == StartOfScan;
            jpeg = jpeg[length..];
        }
    }

    // A stuffed 0xFF, and the marks from which a decoder can go on after an error.
    private static bool IsPartOfPixels(byte code) => code is 0 or 1 or (>= 0xD0 and <= 0xD7);

    // Reserved codes (2 to 0xBF) have no length to skip them by; frames do not begin again behind a scan.
    private static bool CanStand(byte code, bool hasScan) =>
        code >= 0xC0 && code != StartOfImage && !(hasScan && code is >= 0xC0 and <= 0xCF and not (0xC4 or 0xCC));
}
