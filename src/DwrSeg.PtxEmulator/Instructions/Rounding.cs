namespace DwrSeg.PtxEmulator.Instructions;

internal enum RoundingMode
{
    Nearest,
    TowardZero,
    Down,
    Up,

    /// <summary>To nearest, ties away from zero.</summary>
    NearestAway,
}

/// <summary>Rounding of exact results to a format, once.</summary>
/// <remarks>
/// An exact result comes as a double and what was lost when it was rounded to one. <see cref="Odd"/> folds both into one double whose last
/// bit says that something was lost; as every format here has at most 24 bits, rounding that double again gives what rounding the exact
/// result would.
/// </remarks>
internal static class Rounding
{
    /// <summary>a + b as the nearest double and the exact rest.</summary>
    public static (double Sum, double Lost) Add(double a, double b)
    {
        double sum = a + b;
        if (!double.IsFinite(sum)) return (sum, 0);
        double part = sum - a;
        return (sum, (a - (sum - part)) + (b - part));
    }

    /// <summary>The double next to zero of the exact value, its last bit set where that is not exact.</summary>
    public static double Odd(double sum, double rest)
    {
        if (rest == 0 || !double.IsFinite(sum)) return sum;
        long bits = BitConverter.DoubleToInt64Bits(sum);
        if ((rest > 0) != (sum > 0)) bits--;
        return BitConverter.Int64BitsToDouble(bits | 1);
    }

    public static float ToFloat(double value, RoundingMode mode) =>
        mode == RoundingMode.Nearest ? (float)value : (float)ToFormat(value, 24, -126, 127, mode);

    public static ushort ToHalf(double value, RoundingMode mode = RoundingMode.Nearest)
    {
        if (double.IsNaN(value)) return 0x7fff;
        Half half = mode == RoundingMode.Nearest ? (Half)value : (Half)ToFormat(value, 11, -14, 15, mode);
        return BitConverter.HalfToUInt16Bits(half);
    }

    public static ushort ToBFloat(double value, RoundingMode mode = RoundingMode.Nearest)
    {
        if (double.IsNaN(value)) return 0x7fff;
        return (ushort)(BitConverter.SingleToUInt32Bits((float)ToFormat(value, 8, -126, 127, mode)) >> 16);
    }

    /// <summary>The value rounded to a binary format with this many bits and exponents; subnormals and overflow as IEEE 754 has them.</summary>
    public static double ToFormat(double value, int bits, int minExponent, int maxExponent, RoundingMode mode)
    {
        if (value == 0 || !double.IsFinite(value)) return value;
        int unit = Math.Max(Math.ILogB(value), minExponent) - (bits - 1);
        double rounded = Math.ScaleB(ToIntegral(Math.ScaleB(value, -unit), mode), unit);
        double largest = Math.ScaleB(2 - Math.ScaleB(1, 1 - bits), maxExponent);
        if (Math.Abs(rounded) > largest)
        {
            bool infinite = mode is RoundingMode.Nearest or RoundingMode.NearestAway || (mode == RoundingMode.Up && value > 0)
                || (mode == RoundingMode.Down && value < 0);
            return Math.CopySign(infinite ? double.PositiveInfinity : largest, value);
        }
        return rounded == 0 ? Math.CopySign(0, value) : rounded;
    }

    public static double ToIntegral(double value, RoundingMode mode) => mode switch
    {
        RoundingMode.Nearest => Math.Round(value, MidpointRounding.ToEven),
        RoundingMode.TowardZero => Math.Truncate(value),
        RoundingMode.Down => Math.Floor(value),
        RoundingMode.Up => Math.Ceiling(value),
        _ => Math.Round(value, MidpointRounding.AwayFromZero),
    };

    public static double FromHalf(uint bits) => (double)BitConverter.UInt16BitsToHalf((ushort)bits);

    public static double FromBFloat(uint bits) => BitConverter.UInt32BitsToSingle(bits << 16);
}
