using System.Buffers.Binary;
using System.IO.Compression;

namespace DwrSeg.Native.Formats;

/// <summary>Writes 8-bit grey or RGB PNG with exactly the given values: no colour space, gamma or palette comes in between.</summary>
internal static class PngWriter
{
    private const byte FilterNone = 0, FilterSub = 1, FilterUp = 2, FilterPaeth = 4;

    /// <param name="stream">Receives the file.</param>
    /// <param name="width">Pixels per row.</param>
    /// <param name="height">Rows.</param>
    /// <param name="channels">1 (grey) or 3 (RGB).</param>
    /// <param name="pixels">Width · height · channels bytes, rows top to bottom.</param>
    public static void Write(Stream stream, int width, int height, int channels, ReadOnlySpan<byte> pixels)
    {
        stream.Write(PngChunk.Signature);
        Span<byte> header = stackalloc byte[13];
        BinaryPrimitives.WriteInt32BigEndian(header, width);
        BinaryPrimitives.WriteInt32BigEndian(header[4..], height);
        header[8] = 8;
        header[9] = (byte)(channels == 1 ? 0 : 2);
        header[10..].Clear();
        WriteChunk(stream, "IHDR"u8, header);
        using MemoryStream data = new();
        using (ZLibStream compressor = new(data, CompressionLevel.Optimal, leaveOpen: true))
        {
            WriteRows(compressor, width * channels, height, channels, pixels);
        }
        WriteChunk(stream, "IDAT"u8, data.GetBuffer().AsSpan(0, (int)data.Length));
        WriteChunk(stream, "IEND"u8, []);
    }

    private static void WriteRows(Stream stream, int rowBytes, int height, int channels, ReadOnlySpan<byte> pixels)
    {
        byte[] zeros = new byte[rowBytes];
        byte[] best = new byte[rowBytes + 1], candidate = new byte[rowBytes + 1];
        for (int y = 0; y < height; y++)
        {
            ReadOnlySpan<byte> row = pixels.Slice(y * rowBytes, rowBytes);
            ReadOnlySpan<byte> above = y == 0 ? zeros : pixels.Slice((y - 1) * rowBytes, rowBytes);
            long bestCost = long.MaxValue;
            foreach (byte filter in (ReadOnlySpan<byte>)[FilterUp, FilterSub, FilterPaeth, FilterNone])
            {
                candidate[0] = filter;
                Filter(filter, row, above, channels, candidate.AsSpan(1));
                long cost = Cost(candidate.AsSpan(1));
                if (cost >= bestCost) continue;
                bestCost = cost;
                (best, candidate) = (candidate, best);
            }
            stream.Write(best);
        }
    }

    private static void Filter(byte filter, ReadOnlySpan<byte> row, ReadOnlySpan<byte> above, int step, Span<byte> output)
    {
        switch (filter)
        {
            case FilterNone:
                row.CopyTo(output);
                break;
            case FilterSub:
                row[..Math.Min(step, row.Length)].CopyTo(output);
                for (int i = step; i < row.Length; i++) output[i] = (byte)(row[i] - row[i - step]);
                break;
            case FilterUp:
                for (int i = 0; i < row.Length; i++) output[i] = (byte)(row[i] - above[i]);
                break;
            default:
                for (int i = 0; i < Math.Min(step, row.Length); i++) output[i] = (byte)(row[i] - above[i]);
                for (int i = step; i < row.Length; i++)
                {
                    output[i] = (byte)(row[i] - PngChunk.Paeth(row[i - step], above[i], above[i - step]));
                }
                break;
        }
    }

    // The usual measure of how well a filtered row will compress: its bytes as signed numbers, summed without their signs.
    private static long Cost(ReadOnlySpan<byte> filtered)
    {
        long cost = 0;
        foreach (byte value in filtered) cost += Math.Abs((int)(sbyte)value);
        return cost;
    }

    private static void WriteChunk(Stream stream, ReadOnlySpan<byte> type, ReadOnlySpan<byte> content)
    {
        byte[] chunk = new byte[content.Length + 12];
        BinaryPrimitives.WriteInt32BigEndian(chunk, content.Length);
        type.CopyTo(chunk.AsSpan(4));
        content.CopyTo(chunk.AsSpan(8));
        BinaryPrimitives.WriteUInt32BigEndian(chunk.AsSpan(8 + content.Length), PngChunk.Checksum(chunk.AsSpan(4, content.Length + 4)));
        stream.Write(chunk);
    }
}
