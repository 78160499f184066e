namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Variables of the environment that take out what only some devices have, to compare with and without or to be rid of a doubt.</summary>
internal static class FeatureSwitch
{
    public static bool IsOn(string variable) => Allows(Environment.GetEnvironmentVariable(variable));

    /// <summary>What a variable says: 0 is without; anything else, and nothing, is with.</summary>
    public static bool Allows(string? setting) => setting is not "0";
}
