using System.Globalization;

namespace DwrSeg.Native.Formats;

/// <summary>An 8-bit sRGB colour.</summary>
public readonly record struct Rgb(byte R, byte G, byte B)
{
    /// <summary>The colour as <c>#rrggbb</c>.</summary>
    public override string ToString() => $"#{R:x2}{G:x2}{B:x2}";

    internal static bool TryParse(string text, out Rgb color)
    {
        color = default;
        if (text.Length != 7 || text[0] != '#') return false;
        if (!int.TryParse(text.AsSpan(1), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out int bits)) return false;
        color = new Rgb((byte)(bits >> 16), (byte)(bits >> 8), (byte)bits);
        return true;
    }
}
