using System.Text;

namespace DwrSeg.Native.Formats;

/// <summary>Makes text out of untrusted files fit for a one-line message.</summary>
internal static class ErrorText
{
    private const int MaxLength = 80;

    /// <summary>The text in single quotes, cut to 80 characters, with control characters escaped.</summary>
    public static string Quote(string text)
    {
        StringBuilder quoted = new("'", Math.Min(text.Length, MaxLength) + 8);
        foreach (char c in text.AsSpan(0, Math.Min(text.Length, MaxLength)))
        {
            if (char.IsControl(c) || char.IsSurrogate(c)) quoted.Append($"\\u{(int)c:x4}");
            else quoted.Append(c);
        }
        return quoted.Append(text.Length > MaxLength ? "…'" : "'").ToString();
    }

    public static string Shape(ReadOnlySpan<long> shape)
    {
        StringBuilder text = new("[");
        for (int i = 0; i < shape.Length; i++)
        {
            if (i == 8)
            {
                text.Append($", … ({shape.Length} dimensions)");
                break;
            }
            if (i > 0) text.Append(", ");
            text.Append(shape[i]);
        }
        return text.Append(']').ToString();
    }
}
