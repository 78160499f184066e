using Xunit;

namespace DwrSeg.PtxEmulator.Tests;

/// <summary>Changes to the text of kernels.</summary>
internal static class Edits
{
    /// <summary>Replaces text that has to be there.</summary>
    public static string With(this string text, string old, string now)
    {
        Assert.Contains(old, text, StringComparison.Ordinal);
        return text.Replace(old, now, StringComparison.Ordinal);
    }
}
