namespace DwrSeg.Native;

/// <summary>What repeated measurements come to.</summary>
internal static class Statistics
{
    /// <summary>The middle one, or the mean of the two in the middle.</summary>
    /// <param name="sorted">At least one value, in ascending order.</param>
    public static double Median(IReadOnlyList<double> sorted) => (sorted[(sorted.Count - 1) / 2] + sorted[sorted.Count / 2]) / 2;
}
