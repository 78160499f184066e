namespace DwrSeg.Native.Tests;

/// <summary>Draws that tests need often.</summary>
internal static class RandomExtensions
{
    /// <summary>A standard normal number.</summary>
    public static double NextNormal(this Random random) =>
        Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());

    /// <summary>True with the given probability.</summary>
    public static bool Chance(this Random random, double probability) => random.NextDouble() < probability;

    /// <summary>A number from 1 to <paramref name="most"/>, small ones more often: its logarithm is uniform.</summary>
    public static int NextSize(this Random random, int most) => (int)Math.Exp(random.NextDouble() * Math.Log(most + 1));
}
