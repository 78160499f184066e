using System.Numerics;

namespace DwrSeg.PtxEmulator.Tests.Arithmetic;

/// <summary>Rounding of a real number to a format.</summary>
internal enum Rounding
{
    Nearest,
    Zero,
    Down,
    Up,
    NearestAway,
}

/// <summary>A binary floating-point format, for exact arithmetic on big integers: slow, and plainly IEEE 754.</summary>
/// <param name="Bits">Width.</param>
/// <param name="Precision">Bits of a normal significand, the hidden one included.</param>
internal sealed record FloatFormat(int Bits, int Precision)
{
    public static readonly FloatFormat F16 = new(16, 11);
    public static readonly FloatFormat BF16 = new(16, 8);
    public static readonly FloatFormat F32 = new(32, 24);
    public static readonly FloatFormat F64 = new(64, 53);

    private int FractionBits => Precision - 1;

    private int Bias => (1 << (Bits - Precision - 1)) - 1;

    private ulong ExponentMask => (1ul << (Bits - Precision)) - 1;

    private ulong FractionMask => (1ul << FractionBits) - 1;

    public ulong SignBit => 1ul << (Bits - 1);

    public ulong Infinity => ExponentMask << FractionBits;

    public ulong NaN => SignBit - 1;

    public ulong MaxFinite => Infinity - 1;

    public ulong One => (ulong)Bias << FractionBits;

    public bool IsNaN(ulong x) => (x & ~SignBit) > Infinity;

    public bool IsInfinite(ulong x) => (x & ~SignBit) == Infinity;

    public bool IsZero(ulong x) => (x & ~SignBit) == 0;

    public bool IsNegative(ulong x) => (x & SignBit) != 0;

    public bool IsSubnormal(ulong x) => !IsZero(x) && (x >> FractionBits & ExponentMask) == 0;

    /// <summary>Zero of the same sign in place of a subnormal number.</summary>
    public ulong Flush(ulong x) => IsSubnormal(x) ? x & SignBit : x;

    /// <summary>Clamped to 0 … 1, NaN to 0.</summary>
    public ulong Saturate(ulong x) => IsNaN(x) || IsNegative(x) ? 0 : Math.Min(x, One);

    /// <summary>The exact value of a finite number.</summary>
    public Exact Value(ulong x)
    {
        int exponent = (int)(x >> FractionBits & ExponentMask);
        BigInteger significand = exponent == 0 ? x & FractionMask : x & FractionMask | 1ul << FractionBits;
        return new Exact(IsNegative(x), significand, Math.Max(exponent, 1) - Bias - FractionBits);
    }

    /// <summary>The number nearest to a value in the direction of a rounding.</summary>
    public ulong Round(Exact value, Rounding rounding)
    {
        ulong sign = value.Negative ? SignBit : 0;
        if (value.Magnitude.IsZero) return sign;
        int top = value.Exponent + (int)value.Magnitude.GetBitLength() - 1;
        int last = Math.Max(top, 1 - Bias) - FractionBits;
        int drop = last - value.Exponent;
        BigInteger kept = drop <= 0 ? value.Magnitude << -drop : value.Magnitude >> drop;
        BigInteger rest = drop <= 0 ? BigInteger.Zero : value.Magnitude - (kept << drop);
        int half = drop <= 0 ? -1 : (rest << 1).CompareTo(BigInteger.One << drop);
        if (half == 0 && value.Sticky) half = 1;
        bool inexact = !rest.IsZero || value.Sticky;
        bool up = rounding switch
        {
            Rounding.Nearest => half > 0 || half == 0 && !kept.IsEven,
            Rounding.NearestAway => half >= 0,
            Rounding.Down => inexact && value.Negative,
            Rounding.Up => inexact && !value.Negative,
            _ => false,
        };
        if (up) kept++;
        // A subnormal number that rounds up to the smallest normal one, and a significand that overflows, carry into the exponent by
        // themselves.
        BigInteger bits = kept + (((BigInteger)last + Bias + FractionBits - 1) << FractionBits);
        if (bits < Infinity) return sign | (ulong)bits;
        bool toInfinity = rounding is Rounding.Nearest or Rounding.NearestAway
            || rounding == (value.Negative ? Rounding.Down : Rounding.Up);
        return sign | (toInfinity ? Infinity : MaxFinite);
    }

    public ulong Add(ulong a, ulong b, Rounding rounding)
    {
        if (IsNaN(a) || IsNaN(b) || IsInfinite(a) && IsInfinite(b) && a != b) return NaN;
        if (IsInfinite(a)) return a;
        if (IsInfinite(b)) return b;
        return Sum(Value(a), Value(b), rounding);
    }

    public ulong Multiply(ulong a, ulong b, Rounding rounding)
    {
        if (IsNaN(a) || IsNaN(b) || IsInfinite(a) && IsZero(b) || IsZero(a) && IsInfinite(b)) return NaN;
        if (IsInfinite(a) || IsInfinite(b)) return (a ^ b) & SignBit | Infinity;
        return Round(Value(a).Times(Value(b)), rounding);
    }

    public ulong MultiplyAdd(ulong a, ulong b, ulong c, Rounding rounding)
    {
        if (IsNaN(a) || IsNaN(b) || IsNaN(c) || IsInfinite(a) && IsZero(b) || IsZero(a) && IsInfinite(b)) return NaN;
        if (IsInfinite(a) || IsInfinite(b)) return Add((a ^ b) & SignBit | Infinity, c, rounding);
        return IsInfinite(c) ? c : Sum(Value(a).Times(Value(b)), Value(c), rounding);
    }

    public ulong Divide(ulong a, ulong b, Rounding rounding)
    {
        ulong sign = (a ^ b) & SignBit;
        if (IsNaN(a) || IsNaN(b) || IsInfinite(a) && IsInfinite(b) || IsZero(a) && IsZero(b)) return NaN;
        if (IsInfinite(a) || IsZero(b)) return sign | Infinity;
        if (IsZero(a) || IsInfinite(b)) return sign;
        Exact x = Value(a), y = Value(b);
        const int More = 160;
        BigInteger quotient = BigInteger.DivRem(x.Magnitude << More, y.Magnitude, out BigInteger rest);
        return Round(new Exact(sign != 0, quotient, x.Exponent - y.Exponent - More, !rest.IsZero), rounding);
    }

    public ulong SquareRoot(ulong a, Rounding rounding)
    {
        if (IsNaN(a)) return NaN;
        if (IsZero(a)) return a;
        if (IsNegative(a)) return NaN;
        if (IsInfinite(a)) return a;
        Exact x = Value(a);
        int shift = 160 + (x.Exponent & 1);
        BigInteger wide = x.Magnitude << shift, root = IntegerRoot(wide);
        return Round(new Exact(false, root, (x.Exponent - shift) / 2, root * root != wide), rounding);
    }

    /// <summary>A number of this format in another one.</summary>
    public ulong Convert(ulong x, FloatFormat to, Rounding rounding) =>
        IsNaN(x) ? to.NaN : IsInfinite(x) ? (IsNegative(x) ? to.SignBit : 0) | to.Infinity : to.Round(Value(x), rounding);

    private ulong Sum(Exact a, Exact b, Rounding rounding)
    {
        // An exact zero is positive, or negative when rounding down; but of two zeros of one sign it keeps that.
        if (a.Magnitude.IsZero && b.Magnitude.IsZero && a.Negative == b.Negative) return a.Negative ? SignBit : 0;
        Exact sum = a.Plus(b);
        return sum.Magnitude.IsZero ? rounding == Rounding.Down ? SignBit : 0 : Round(sum, rounding);
    }

    private static BigInteger IntegerRoot(BigInteger n)
    {
        BigInteger x = BigInteger.One << (int)(n.GetBitLength() + 1) / 2 + 1;
        while (true)
        {
            BigInteger next = (x + n / x) >> 1;
            if (next >= x) return x;
            x = next;
        }
    }
}

/// <summary>
/// A real number: ± magnitude · 2^exponent, and, where <paramref name="Sticky"/> is set, less than one unit of that more.
/// </summary>
internal readonly record struct Exact(bool Negative, BigInteger Magnitude, int Exponent, bool Sticky = false)
{
    public BigInteger Signed => Negative ? -Magnitude : Magnitude;

    public Exact Times(Exact other) => new(Negative != other.Negative, Magnitude * other.Magnitude, Exponent + other.Exponent);

    public Exact Plus(Exact other)
    {
        int exponent = Math.Min(Exponent, other.Exponent);
        BigInteger sum = (Signed << (Exponent - exponent)) + (other.Signed << (other.Exponent - exponent));
        return new Exact(sum.Sign < 0, BigInteger.Abs(sum), exponent);
    }

    /// <summary>The integer next to it in the direction of a rounding.</summary>
    public BigInteger ToInteger(Rounding rounding)
    {
        if (Exponent >= 0) return Signed << Exponent;
        BigInteger unit = BigInteger.One << -Exponent;
        BigInteger down = Signed >> -Exponent;
        BigInteger rest = Signed - down * unit;
        if (rest.IsZero) return down;
        int half = (rest << 1).CompareTo(unit);
        bool up = rounding switch
        {
            Rounding.Nearest => half > 0 || half == 0 && !down.IsEven,
            Rounding.Zero => Negative,
            Rounding.Up => true,
            _ => false,
        };
        return up ? down + 1 : down;
    }
}
