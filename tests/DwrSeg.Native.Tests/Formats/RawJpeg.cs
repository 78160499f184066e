namespace DwrSeg.Native.Tests.Formats;

/// <summary>JPEG files of flat colour, put together marker by marker: what common encoders do not write.</summary>
internal static class RawJpeg
{
    // A quantiser of 8 for every coefficient makes a block's DC difference the change of its grey level.
    private const byte Quantiser = 8;

    /// <summary>A grey image of 8 x 8 blocks.</summary>
    public static byte[] Grey(int columns, int rows, byte value) => Build(columns * 8, rows * 8, columns * rows, adobe: null, value);

    /// <summary>The same with a restart marker between any two blocks.</summary>
    public static byte[] GreyWithRestarts(int columns, int rows, byte value)
    {
        byte[] whole = Grey(columns, rows, value);
        int scan = whole.AsSpan().IndexOf((ReadOnlySpan<byte>)[0xFF, 0xDA]), pixels = scan + 10;
        var file = new List<byte>([.. whole[..scan], .. Segment(0xDD, [0, 1]), .. whole[scan..pixels]]);
        for (int block = 0; block < columns * rows; block++)
        {
            // Each block stands for itself, so it says its level again.
            file.AddRange(Blocks(1, [value]));
            if (block < columns * rows - 1) file.AddRange([0xFF, (byte)(0xD0 + block % 8)]);
        }
        return [.. file, 0xFF, 0xD9];
    }

    /// <summary>The same in two scans: the blocks' levels, then all else, of which there is nothing.</summary>
    public static byte[] ProgressiveGrey(int columns, int rows, byte value)
    {
        byte[] whole = Grey(columns, rows, value);
        int frame = whole.AsSpan().IndexOf((ReadOnlySpan<byte>)[0xFF, 0xC0]), scan = whole.AsSpan().IndexOf((ReadOnlySpan<byte>)[0xFF, 0xDA]);
        whole[frame + 1] = 0xC2;
        return
        [
            .. whole[..scan], .. Segment(0xDA, [1, 1, 0, 0, 0, 0]), .. Blocks(columns * rows, [value], ends: false),
            .. Segment(0xDA, [1, 1, 0, 1, 63, 0]), .. new byte[(columns * rows + 7) / 8], 0xFF, 0xD9,
        ];
    }

    /// <summary>Puts a segment of any kind behind the start-of-image marker.</summary>
    public static byte[] WithSegment(byte[] jpeg, byte marker, byte[] content) => [.. jpeg[..2], .. Segment(marker, content), .. jpeg[2..]];

    /// <summary>A CMYK image of 8 x 8 pixels as Adobe's programs write them: inverted, 255 is no ink.</summary>
    public static byte[] InvertedCmyk(byte c, byte m, byte y, byte k) => Build(8, 8, 1, adobe: 0, c, m, y, k);

    /// <summary>Puts a minimal EXIF segment behind the start-of-image marker: one directory with the orientation tag alone.</summary>
    public static byte[] WithOrientation(byte[] jpeg, int orientation)
    {
        byte[] exif =
        [
            .. "Exif\0\0"u8, .. "MM\0*"u8, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, (byte)orientation, 0, 0, 0, 0, 0, 0,
        ];
        return [.. jpeg[..2], .. Segment(0xE1, exif), .. jpeg[2..]];
    }

    private static byte[] Build(int width, int height, int blocks, byte? adobe, params ReadOnlySpan<byte> levels)
    {
        byte components = (byte)levels.Length;
        byte[] quantisers = [0, .. Enumerable.Repeat(Quantiser, 64)];
        var frame = new List<byte> { 8, (byte)(height >> 8), (byte)height, (byte)(width >> 8), (byte)width, components };
        var scan = new List<byte> { components };
        for (byte i = 1; i <= components; i++)
        {
            frame.AddRange([i, 0x11, 0]);
            scan.AddRange([i, 0]);
        }
        scan.AddRange([0, 63, 0]);
        // DC: categories 0 to 7 have codes of four bits, 0000 to 0111. AC: the end of the block is 0.
        byte[] dc = [0x00, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7];
        byte[] ac = [0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        byte[] marker = adobe is { } transform ? Segment(0xEE, [.. "Adobe"u8, 0, 100, 0, 0, 0, 0, transform]) : [];
        return
        [
            0xFF, 0xD8, .. marker, .. Segment(0xDB, quantisers), .. Segment(0xC0, [.. frame]), .. Segment(0xC4, dc), .. Segment(0xC4, ac),
            .. Segment(0xDA, [.. scan]), .. Blocks(blocks, levels), 0xFF, 0xD9,
        ];
    }

    // The first block of each component says its level, all others that nothing changes.
    private static List<byte> Blocks(int blocks, ReadOnlySpan<byte> levels, bool ends = true)
    {
        var bits = new List<bool>();
        for (int block = 0; block < blocks; block++)
        {
            foreach (byte level in levels)
            {
                int difference = block == 0 ? level - 128 : 0, category = difference == 0 ? 0 : int.Log2(Math.Abs(difference)) + 1;
                Put(category, 4);
                Put(difference < 0 ? difference + (1 << category) - 1 : difference, category);
                if (ends) Put(0, 1);
            }
        }
        while (bits.Count % 8 != 0) bits.Add(true);
        var bytes = new List<byte>();
        for (int i = 0; i < bits.Count; i += 8)
        {
            int value = 0;
            for (int bit = 0; bit < 8; bit++) value = value << 1 | (bits[i + bit] ? 1 : 0);
            bytes.Add((byte)value);
            if (value == 0xFF) bytes.Add(0);
        }
        return bytes;

        void Put(int value, int count)
        {
            for (int bit = count - 1; bit >= 0; bit--) bits.Add((value >> bit & 1) != 0);
        }
    }

    private static byte[] Segment(byte marker, byte[] content) =>
        [0xFF, marker, (byte)((content.Length + 2) >> 8), (byte)(content.Length + 2), .. content];
}
