using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Tests.Formats;

/// <summary>PNG files of any kind, put together chunk by chunk.</summary>
internal static class RawPng
{
    public const byte Grey = 0, Color = 2, Palette = 3, GreyAlpha = 4, ColorAlpha = 6;

    /// <summary>A file from its decompressed data: a filter byte and the packed pixels of each row.</summary>
    public static byte[] Build(int width, int height, byte depth, byte color, byte[] rows, bool interlaced = false) =>
        [.. Head(width, height, depth, color, interlaced), .. Chunk("IDAT", Compress(rows)), .. Chunk("IEND", [])];

    public static byte[] Head(int width, int height, byte depth, byte color, bool interlaced = false)
    {
        byte[] header = new byte[13];
        BinaryPrimitives.WriteInt32BigEndian(header, width);
        BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(4), height);
        header[8] = depth;
        header[9] = color;
        header[12] = (byte)(interlaced ? 1 : 0);
        byte[] head = [.. PngChunk.Signature, .. Chunk("IHDR", header)];
        if (color != Palette) return head;
        byte[] palette = new byte[3 << depth];
        for (int i = 0; i < palette.Length; i++) palette[i] = (byte)(i * 37);
        return [.. head, .. Chunk("PLTE", palette)];
    }

    public static byte[] Chunk(string type, byte[] content)
    {
        byte[] chunk = new byte[content.Length + 12];
        BinaryPrimitives.WriteInt32BigEndian(chunk, content.Length);
        Encoding.ASCII.GetBytes(type, chunk.AsSpan(4));
        content.CopyTo(chunk, 8);
        BinaryPrimitives.WriteUInt32BigEndian(chunk.AsSpan(8 + content.Length), PngChunk.Checksum(chunk.AsSpan(4, 4 + content.Length)));
        return chunk;
    }

    public static byte[] Compress(byte[] bytes)
    {
        using MemoryStream stream = new();
        using (ZLibStream compressor = new(stream, CompressionLevel.Optimal)) compressor.Write(bytes);
        return stream.ToArray();
    }

    /// <summary>Rows of packed values, unfiltered.</summary>
    public static byte[] PackRows(int width, int height, int depth, Func<int, int, int> value)
    {
        int rowBytes = (width * depth + 7) / 8;
        byte[] rows = new byte[height * (rowBytes + 1)];
        for (int y = 0; y < height; y++)
        {
            for (int x = 0; x < width; x++)
            {
                rows[y * (rowBytes + 1) + 1 + x * depth / 8] |= (byte)(value(x, y) << (8 - depth - x * depth % 8));
            }
        }
        return rows;
    }

    /// <summary>The seven passes of an interlaced image: pixels are visited by the 8 x 8 pattern that the format's text prints.</summary>
    public static byte[] PackInterlaced(int width, int height, int depth, Func<int, int, int> value)
    {
        int[,] passOf =
        {
            { 1, 6, 4, 6, 2, 6, 4, 6 }, { 7, 7, 7, 7, 7, 7, 7, 7 }, { 5, 6, 5, 6, 5, 6, 5, 6 }, { 7, 7, 7, 7, 7, 7, 7, 7 },
            { 3, 6, 4, 6, 3, 6, 4, 6 }, { 7, 7, 7, 7, 7, 7, 7, 7 }, { 5, 6, 5, 6, 5, 6, 5, 6 }, { 7, 7, 7, 7, 7, 7, 7, 7 },
        };
        List<byte> data = [];
        for (int pass = 1; pass <= 7; pass++)
        {
            for (int y = 0; y < height; y++)
            {
                int[] row = [.. Enumerable.Range(0, width).Where(x => passOf[y % 8, x % 8] == pass).Select(x => value(x, y))];
                if (row.Length > 0) data.AddRange(PackRows(row.Length, 1, depth, (x, _) => row[x]));
            }
        }
        return [.. data];
    }
}
