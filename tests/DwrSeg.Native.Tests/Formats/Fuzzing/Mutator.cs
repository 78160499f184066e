using System.Buffers.Binary;
using System.Text;

namespace DwrSeg.Native.Tests.Formats.Fuzzing;

/// <summary>Damages bytes in the ways that parsers trip over: flips, cuts, splices, extreme integers, and edits of JSON text.</summary>
internal sealed class Mutator(Random random)
{
    private static readonly long[] ExtremeIntegers =
    [
        0, 1, 7, 8, 9, 127, 128, 255, 256, 32767, 65535, 65536, 99_999_999, 100_000_001, int.MaxValue, uint.MaxValue, 1L << 32, 1L << 53,
        long.MaxValue, long.MaxValue - 7, long.MinValue, -1, -8,
    ];

    private static readonly string[] ExtremeNumbers =
    [
        "0", "-0", "-1", "1", "2", "3", "4", "8", "255", "256", "2147483648", "4294967296", "9223372036854775807", "9223372036854775808",
        "18446744073709551616", "1e3", "1e999", "2.5", "0x10", "01", "NaN", "\"1\"", "null", "[]", "999999999999999999999999999999",
    ];

    private static readonly string[] Fragments =
    [
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u0000", "\\ud800", "\\ud83d\\ude00", "\0", "\n", " ", "\t", "null", "true", "{}", "[]",
        "\"F16\"", "\"BF16\"", "\"F64\"", "\"I32\"", "\"BOOL\"", "\"F8_E4M3\"", "\"__metadata__\"", "\"dtype\"", "\"shape\"",
        "\"data_offsets\"", "\"name\"", "\"color\"", "\"ignore\"", "\"classes\"", "\"training\"", "\"#12zz34\"", "[0,0,0]", "../", "/",
        "# ", "\uFEFF", "ü", "//", "/*",
    ];

    /// <summary>A copy with one to six damages; parts of <paramref name="other"/> may be spliced in.</summary>
    public byte[] Mutate(byte[] input, byte[] other)
    {
        byte[] bytes = input;
        for (int count = random.Next(1, 7); count > 0; count--) bytes = MutateOnce(bytes, other);
        return bytes;
    }

    /// <summary>As <see cref="Mutate"/>, with more weight on edits that leave the text readable.</summary>
    public byte[] MutateText(byte[] input, byte[] other)
    {
        byte[] bytes = input;
        for (int count = random.Next(1, 4); count > 0; count--)
        {
            bytes = random.Next(4) switch
            {
                0 => MutateOnce(bytes, other),
                1 => InsertFragment(bytes),
                2 => MoveToken(bytes),
                _ => ReplaceNumber(bytes),
            };
        }
        return bytes;
    }

    private byte[] MutateOnce(byte[] bytes, byte[] other)
    {
        (int start, int end) = Range(bytes.Length);
        switch (random.Next(10))
        {
            case 0:
            case 1:
                return Overwrite(bytes, (byte)(1 << random.Next(8)), flip: true);
            case 2:
                return Overwrite(bytes, (byte)random.Next(256), flip: false);
            case 3:
                return bytes[..random.Next(bytes.Length + 1)];
            case 4:
                return [.. bytes[..start], .. bytes[end..]];
            case 5:
                return [.. bytes[..end], .. bytes[start..end], .. bytes[end..]];
            case 6:
                (int from, int to) = Range(other.Length);
                return [.. bytes[..start], .. other[from..to], .. bytes[end..]];
            case 7:
                return WriteInteger(bytes);
            case 8:
                byte[] tail = new byte[random.Next(1, 64)];
                random.NextBytes(tail);
                return [.. bytes, .. tail];
            default:
                return InsertFragment(bytes);
        }
    }

    private (int Start, int End) Range(int length)
    {
        int start = random.Next(length + 1);
        return (start, start + random.Next(Math.Min(length - start, 200) + 1));
    }

    private byte[] Overwrite(byte[] bytes, byte value, bool flip)
    {
        if (bytes.Length == 0) return bytes;
        byte[] copy = [.. bytes];
        int at = random.Next(copy.Length);
        copy[at] = flip ? (byte)(copy[at] ^ value) : value;
        return copy;
    }

    private byte[] WriteInteger(byte[] bytes)
    {
        int size = 1 << random.Next(4);
        if (bytes.Length < size) return bytes;
        // Length fields stand at the beginning more often than elsewhere.
        int at = random.Next(3) == 0 ? 0 : random.Next(bytes.Length - size + 1);
        Span<byte> integer = stackalloc byte[8];
        long value = ExtremeIntegers[random.Next(ExtremeIntegers.Length)];
        BinaryPrimitives.WriteInt64LittleEndian(integer, value);
        integer = integer[..size];
        if (random.Next(2) == 0) integer.Reverse();
        byte[] copy = [.. bytes];
        integer.CopyTo(copy.AsSpan(at));
        return copy;
    }

    private byte[] InsertFragment(byte[] bytes)
    {
        string fragment = random.Next(40) == 0
            ? new string("[{\"9 a/"[random.Next(7)], random.Next(1, 3000))
            : Fragments[random.Next(Fragments.Length)];
        int at = random.Next(bytes.Length + 1);
        int replaced = random.Next(2) == 0 ? 0 : Math.Min(fragment.Length, bytes.Length - at);
        return [.. bytes[..at], .. Encoding.UTF8.GetBytes(fragment), .. bytes[(at + replaced)..]];
    }

    private byte[] ReplaceNumber(byte[] bytes)
    {
        int start = FindFrom(bytes, random.Next(bytes.Length + 1), value => value is >= (byte)'0' and <= (byte)'9');
        if (start < 0) return bytes;
        int end = start;
        while (end < bytes.Length && bytes[end] is >= (byte)'0' and <= (byte)'9') end++;
        byte[] number = Encoding.ASCII.GetBytes(ExtremeNumbers[random.Next(ExtremeNumbers.Length)]);
        return [.. bytes[..start], .. number, .. bytes[end..]];
    }

    /// <summary>Copies or moves the text between two separators: fields come twice, change places, or land in another object.</summary>
    private byte[] MoveToken(byte[] bytes)
    {
        static bool IsSeparator(byte value) => ",{}[]\n "u8.Contains(value);
        int start = FindFrom(bytes, random.Next(bytes.Length + 1), IsSeparator);
        int target = FindFrom(bytes, random.Next(bytes.Length + 1), IsSeparator);
        if (start < 0 || target < 0) return bytes;
        int end = start;
        for (int tokens = random.Next(1, 8); tokens > 0 && end >= 0; tokens--) end = FindFrom(bytes, end + 1, IsSeparator);
        if (end < 0) return bytes;
        byte[] token = bytes[start..end];
        if (random.Next(2) == 0) return [.. bytes[..target], .. token, .. bytes[target..]];
        byte[] without = [.. bytes[..start], .. bytes[end..]];
        target = Math.Min(target, without.Length);
        return [.. without[..target], .. token, .. without[target..]];
    }

    private static int FindFrom(byte[] bytes, int start, Func<byte, bool> match)
    {
        for (int i = start; i < bytes.Length; i++)
        {
            if (match(bytes[i])) return i;
        }
        return -1;
    }
}
