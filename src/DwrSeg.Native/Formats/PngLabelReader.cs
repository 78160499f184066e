using System.Buffers;
using System.Buffers.Binary;
using System.IO.Compression;

namespace DwrSeg.Native.Formats;

/// <summary>
/// Reads class ids from single-channel PNG files: the raw values of 1, 2, 4 or 8-bit grey files, the indices of palette files.
/// General image decoders are no use here, since they turn both into colours. The file is not trusted: every checksum is verified
/// and nothing is allocated that the compressed data could not fill.
/// </summary>
internal static class PngLabelReader
{
    private const int HeaderLength = 13, ChunkOverhead = 12;

    // The densest that deflate can pack: 258 bytes per code of two bits, plus its block header.
    private const int MaxCompressionRatio = 1032;

    // Adam7: first column, first row, column step, row step of each pass.
    private static ReadOnlySpan<byte> InterlacePasses =>
        [0, 0, 8, 8, 4, 0, 8, 8, 0, 4, 4, 8, 2, 0, 4, 4, 0, 2, 2, 4, 1, 0, 2, 2, 0, 1, 1, 2];

    /// <exception cref="ImageFormatException">Not a sound single-channel PNG of at most <paramref name="maxPixels"/>.</exception>
    public static void Read(ReadOnlySpan<byte> file, string name, LabelImage into, long maxPixels)
    {
        if (!file.StartsWith(PngChunk.Signature))
        {
            throw new ImageFormatException(name, "is not a PNG file; labels must be single-channel PNG images of class ids");
        }
        byte[] compressed = ArrayPool<byte>.Shared.Rent(file.Length);
        try
        {
            Header header = ReadChunks(file, name, maxPixels, compressed, out int compressedLength);
            if (header.RawBytes > (long)compressedLength * MaxCompressionRatio + 64)
            {
                throw new ImageFormatException(name, $"{compressedLength} bytes of data cannot fill {header.Width} x {header.Height} " +
                    "pixels; the file is damaged or was cut short");
            }
            into.Resize(header.Width, header.Height);
            using MemoryStream data = new(compressed, 0, compressedLength, writable: false);
            using ZLibStream pixels = new(data, CompressionMode.Decompress);
            ReadPixels(pixels, header, name, into);
        }
        catch (Exception e) when (e is InvalidDataException or IOException)
        {
            throw new ImageFormatException(name, "its compressed data is damaged or was cut short", e);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(compressed);
        }
    }

    private static Header ReadChunks(ReadOnlySpan<byte> file, string name, long maxPixels, Span<byte> compressed, out int compressedLength)
    {
        compressedLength = 0;
        Header? header = null;
        int position = PngChunk.Signature.Length;
        while (true)
        {
            ReadOnlySpan<byte> rest = file[position..];
            if (rest.Length < ChunkOverhead) throw new ImageFormatException(name, "was cut short; copy or export it again");
            uint length = BinaryPrimitives.ReadUInt32BigEndian(rest);
            if (length > rest.Length - ChunkOverhead)
            {
                throw new ImageFormatException(name,
                    $"a chunk claims {length} bytes where {rest.Length - ChunkOverhead} are left; it was cut short");
            }
            uint type = BinaryPrimitives.ReadUInt32BigEndian(rest[4..]);
            ReadOnlySpan<byte> content = rest.Slice(8, (int)length);
            if (BinaryPrimitives.ReadUInt32BigEndian(rest[(8 + (int)length)..]) != PngChunk.Checksum(rest.Slice(4, 4 + (int)length)))
            {
                throw new ImageFormatException(name, $"the checksum of the chunk at byte {position} is wrong; the file is damaged");
            }
            position += ChunkOverhead + (int)length;
            if (header is null != (type == PngChunk.Header))
            {
                throw new ImageFormatException(name, "its header is missing or not the first chunk; the file is damaged");
            }
            switch (type)
            {
                case PngChunk.Header:
                    header = Header.Parse(content, name, maxPixels);
                    break;
                case PngChunk.Data:
                    content.CopyTo(compressed[compressedLength..]);
                    compressedLength += content.Length;
                    break;
                case PngChunk.End:
                    return header!.Value;
                case PngChunk.Palette:
                    break;
                default:
                    // A capital first letter marks a chunk that no reader may skip.
                    if ((type & 0x20000000) != 0) break;
                    throw new ImageFormatException(name, "holds an unknown critical chunk; export it as plain PNG");
            }
        }
    }

    private static void ReadPixels(ZLibStream data, in Header header, string name, LabelImage into)
    {
        int maxRowBytes = header.RowBytes(header.Width);
        byte[] row = ArrayPool<byte>.Shared.Rent(maxRowBytes + 1), above = ArrayPool<byte>.Shared.Rent(maxRowBytes + 1);
        try
        {
            for (int pass = 0; pass < header.Passes; pass++)
            {
                header.PassGeometry(pass, out int x0, out int y0, out int dx, out int dy);
                int width = (header.Width - x0 + dx - 1) / dx;
                if (width <= 0) continue;
                int rowBytes = header.RowBytes(width);
                above.AsSpan(0, rowBytes + 1).Clear();
                for (int y = y0; y < header.Height; y += dy)
                {
                    data.ReadExactly(row, 0, rowBytes + 1);
                    Unfilter(row[0], row.AsSpan(1, rowBytes), above.AsSpan(1, rowBytes), name);
                    Unpack(row.AsSpan(1, rowBytes), header.BitDepth, into.Ids.Slice(y * header.Width, header.Width), x0, dx);
                    (row, above) = (above, row);
                }
            }
            if (data.ReadByte() >= 0) throw new ImageFormatException(name, "holds more pixels than its size says; the file is damaged");
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(row);
            ArrayPool<byte>.Shared.Return(above);
        }
    }

    private static void Unfilter(byte filter, Span<byte> row, ReadOnlySpan<byte> above, string name)
    {
        switch (filter)
        {
            case 0:
                break;
            case 1:
                for (int i = 1; i < row.Length; i++) row[i] += row[i - 1];
                break;
            case 2:
                for (int i = 0; i < row.Length; i++) row[i] += above[i];
                break;
            case 3:
                row[0] += (byte)(above[0] >> 1);
                for (int i = 1; i < row.Length; i++) row[i] += (byte)((row[i - 1] + above[i]) >> 1);
                break;
            case 4:
                row[0] += above[0];
                for (int i = 1; i < row.Length; i++) row[i] += PngChunk.Paeth(row[i - 1], above[i], above[i - 1]);
                break;
            default:
                throw new ImageFormatException(name, $"unknown row filter {filter}; the file is damaged");
        }
    }

    private static void Unpack(ReadOnlySpan<byte> packed, int bitDepth, Span<byte> ids, int x0, int dx)
    {
        if (bitDepth == 8 && dx == 1)
        {
            packed.CopyTo(ids);
            return;
        }
        int mask = (1 << bitDepth) - 1;
        for (int x = x0, bit = 0; x < ids.Length; x += dx, bit += bitDepth)
        {
            ids[x] = (byte)((packed[bit >> 3] >> (8 - bitDepth - (bit & 7))) & mask);
        }
    }

    private readonly record struct Header(int Width, int Height, int BitDepth, bool Interlaced)
    {
        public int Passes => Interlaced ? InterlacePasses.Length / 4 : 1;

        /// <summary>Length of the decompressed data: one filter byte before each row of each pass.</summary>
        public long RawBytes
        {
            get
            {
                long bytes = 0;
                for (int pass = 0; pass < Passes; pass++)
                {
                    PassGeometry(pass, out int x0, out int y0, out int dx, out int dy);
                    int width = (Width - x0 + dx - 1) / dx, height = (Height - y0 + dy - 1) / dy;
                    if (width > 0 && height > 0) bytes += (RowBytes(width) + 1L) * height;
                }
                return bytes;
            }
        }

        public int RowBytes(int width) => (int)(((long)width * BitDepth + 7) / 8);

        public void PassGeometry(int pass, out int x0, out int y0, out int dx, out int dy)
        {
            (x0, y0, dx, dy) = Interlaced
                ? (InterlacePasses[4 * pass], InterlacePasses[4 * pass + 1], InterlacePasses[4 * pass + 2], InterlacePasses[4 * pass + 3])
                : (0, 0, 1, 1);
        }

        public static Header Parse(ReadOnlySpan<byte> content, string name, long maxPixels)
        {
            if (content.Length != HeaderLength) throw new ImageFormatException(name, "its header is damaged");
            uint width = BinaryPrimitives.ReadUInt32BigEndian(content), height = BinaryPrimitives.ReadUInt32BigEndian(content[4..]);
            (byte depth, byte color, byte interlace) = (content[8], content[9], content[12]);
            if (width is 0 or > int.MaxValue || height is 0 or > int.MaxValue || content[10] != 0 || content[11] != 0 || interlace > 1)
            {
                throw new ImageFormatException(name, "its header is damaged");
            }
            if (color is not (0 or 3) || depth is not (1 or 2 or 4 or 8))
            {
                throw new ImageFormatException(name,
                    $"labels must be grey or palette PNG of at most 8 bits holding class ids, found {Describe(color)} of {depth} bits");
            }
            if ((long)width * height > maxPixels)
            {
                throw new ImageFormatException(name, $"{width} x {height} pixels exceed the limit of {maxPixels}");
            }
            return new Header((int)width, (int)height, depth, interlace == 1);
        }

        private static string Describe(byte color) => color switch
        {
            0 => "grey",
            2 => "RGB",
            3 => "palette",
            4 => "grey with alpha",
            6 => "RGBA",
            _ => $"colour type {color}",
        };
    }
}
