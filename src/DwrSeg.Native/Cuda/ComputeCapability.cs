namespace DwrSeg.Native.Cuda;

/// <summary>A generation of devices, such as 8.6 (<c>sm_86</c>).</summary>
internal readonly record struct ComputeCapability(int Major, int Minor) : IComparable<ComputeCapability>
{
    /// <summary>As one number: 86.</summary>
    public int Number => (Major * 10) + Minor;

    public static ComputeCapability FromNumber(int number) => new(number / 10, number % 10);

    public int CompareTo(ComputeCapability other) => Number.CompareTo(other.Number);

    public static bool operator <(ComputeCapability a, ComputeCapability b) => a.CompareTo(b) < 0;

    public static bool operator >(ComputeCapability a, ComputeCapability b) => a.CompareTo(b) > 0;

    public static bool operator <=(ComputeCapability a, ComputeCapability b) => a.CompareTo(b) <= 0;

    public static bool operator >=(ComputeCapability a, ComputeCapability b) => a.CompareTo(b) >= 0;

    public override string ToString() => $"sm_{Number}";
}
