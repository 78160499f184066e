using System.Buffers.Binary;
using DwrSeg.Native.Formats;
using SkiaSharp;
using Xunit;

namespace DwrSeg.Native.Tests.Formats;

public sealed class PngLabelReaderTests
{
    [Fact]
    public void ChecksumIsTheOneOfTheFormat() => Assert.Equal(0xAE426082u, PngChunk.Checksum("IEND"u8));

    [Theory]
    [InlineData(RawPng.Grey, 1)]
    [InlineData(RawPng.Grey, 2)]
    [InlineData(RawPng.Grey, 4)]
    [InlineData(RawPng.Grey, 8)]
    [InlineData(RawPng.Palette, 1)]
    [InlineData(RawPng.Palette, 2)]
    [InlineData(RawPng.Palette, 4)]
    [InlineData(RawPng.Palette, 8)]
    public void RawValuesAreReadExactlyAtEveryDepthAndSize(int color, int depth)
    {
        int mask = (1 << depth) - 1;
        int Value(int x, int y) => (x * 7 + y * 31) & mask;
        foreach ((int width, int height) in new[] { (1, 1), (5, 3), (8, 8), (17, 9), (256, 2) })
        {
            foreach (bool interlaced in new[] { false, true })
            {
                byte[] rows = interlaced
                    ? RawPng.PackInterlaced(width, height, depth, Value)
                    : RawPng.PackRows(width, height, depth, Value);
                byte[] file = RawPng.Build(width, height, (byte)depth, (byte)color, rows, interlaced);
                LabelImage labels = ImageCodec.DecodeLabels(file, "x");
                Assert.Equal((width, height), (labels.Width, labels.Height));
                for (int y = 0; y < height; y++)
                {
                    for (int x = 0; x < width; x++) Assert.Equal(Value(x, y), labels.Ids[y * width + x]);
                }
            }
        }
    }

    [Fact]
    public void InterlacedTestImagesAreWhatAnotherDecoderSees()
    {
        byte[] file = RawPng.Build(13, 11, 8, RawPng.Grey, RawPng.PackInterlaced(13, 11, 8, (x, y) => x * 16 + y), interlaced: true);
        using SKBitmap bitmap = SKBitmap.Decode(file);
        Assert.Equal(12 * 16 + 10, bitmap.GetPixel(12, 10).Red);
        Assert.Equal(3 * 16 + 7, bitmap.GetPixel(3, 7).Red);
    }

    [Fact]
    public void EveryRowFilterIsUndone()
    {
        const int width = 9, height = 5;
        byte[] ids = new byte[width * height];
        new Random(1).NextBytes(ids);
        byte[] rows = new byte[height * (width + 1)];
        for (int y = 0; y < height; y++)
        {
            rows[y * (width + 1)] = (byte)y;
            for (int x = 0; x < width; x++)
            {
                int left = x > 0 ? ids[y * width + x - 1] : 0, above = y > 0 ? ids[(y - 1) * width + x] : 0;
                int corner = x > 0 && y > 0 ? ids[(y - 1) * width + x - 1] : 0;
                int guess = left + above - corner;
                int nearest = new[] { left, above, corner }.MinBy(candidate => Math.Abs(guess - candidate));
                int predicted = y switch { 0 => 0, 1 => left, 2 => above, 3 => (left + above) / 2, _ => nearest };
                rows[y * (width + 1) + 1 + x] = (byte)(ids[y * width + x] - predicted);
            }
        }
        Assert.Equal(ids, ImageCodec.DecodeLabels(RawPng.Build(width, height, 8, RawPng.Grey, rows), "x").Ids);
    }

    [Fact]
    public void AllByteValuesSurviveWritingAndReading()
    {
        using TemporaryFolder folder = new();
        string path = folder.File("labels.png");
        byte[] ids = [.. Enumerable.Range(0, 256 * 3).Select(i => (byte)(i * 7))];
        ImageCodec.SaveLabels(path, 256, 3, ids);
        byte[] file = File.ReadAllBytes(path);
        Assert.Equal(8, file[24]);
        Assert.Equal(RawPng.Grey, file[25]);
        Assert.Equal(ids, ImageCodec.DecodeLabels(path).Ids);
        using SKBitmap other = SKBitmap.Decode(path);
        Assert.Equal(SKColorType.Gray8, other.ColorType);
        Assert.Equal(ids, other.Bytes);
    }

    [Fact]
    public void DataSplitOverManyChunksIsRead()
    {
        byte[] data = RawPng.Compress(RawPng.PackRows(4, 4, 8, (x, y) => x + y));
        byte[] file =
        [
            .. RawPng.Head(4, 4, 8, RawPng.Grey), .. RawPng.Chunk("tEXt", [1, 2]), .. RawPng.Chunk("IDAT", data[..3]),
            .. RawPng.Chunk("IDAT", []), .. RawPng.Chunk("IDAT", data[3..]), .. RawPng.Chunk("IEND", []),
        ];
        Assert.Equal(6, ImageCodec.DecodeLabels(file, "x").Ids[15]);
    }

    [Fact]
    public void BufferIsReusedForSmallerImages()
    {
        LabelImage into = new(8, 8);
        byte[] file = RawPng.Build(4, 4, 8, RawPng.Grey, RawPng.PackRows(4, 4, 8, (x, y) => 3));
        Assert.Same(into, ImageCodec.DecodeLabels(file, "x", into));
        Assert.Equal(16, into.Ids.Length);
    }

    public static TheoryData<string, byte[], string> Unsound()
    {
        byte[] good = RawPng.Build(4, 4, 8, RawPng.Grey, RawPng.PackRows(4, 4, 8, (x, y) => x));
        byte[] rows = RawPng.PackRows(4, 4, 8, (x, y) => x);
        byte[] flipped = [.. good];
        flipped[^20] ^= 1;
        byte[] huge = [.. good];
        BinaryPrimitives.WriteUInt32BigEndian(huge.AsSpan(8), 0xFFFFFFFF);
        byte[] badFilter = [.. rows];
        badFilter[5] = 9;
        return new()
        {
            { "empty", [], "not a PNG" },
            { "jpeg", [0xFF, 0xD8, 0xFF], "not a PNG" },
            { "colour", RawPng.Build(1, 1, 8, RawPng.Color, [0, 1, 2, 3]), "found RGB of 8 bits" },
            { "alpha", RawPng.Build(1, 1, 8, RawPng.ColorAlpha, [0, 1, 2, 3, 4]), "found RGBA" },
            { "grey alpha", RawPng.Build(1, 1, 8, RawPng.GreyAlpha, [0, 1, 2]), "found grey with alpha" },
            { "16 bits", RawPng.Build(1, 1, 16, RawPng.Grey, [0, 1, 2]), "found grey of 16 bits" },
            { "checksum", flipped, "checksum" },
            { "chunk length", huge, "a chunk claims 4294967295 bytes" },
            { "no header", [.. PngChunk.Signature, .. RawPng.Chunk("IEND", [])], "not the first chunk" },
            { "two headers", [.. RawPng.Head(4, 4, 8, RawPng.Grey), .. RawPng.Head(4, 4, 8, RawPng.Grey)[8..]], "not the first chunk" },
            { "critical", [.. RawPng.Head(4, 4, 8, RawPng.Grey), .. RawPng.Chunk("ABCD", [])], "unknown critical chunk" },
            { "no data", [.. RawPng.Head(64, 64, 8, RawPng.Grey), .. RawPng.Chunk("IEND", [])], "cannot fill 64 x 64" },
            { "zero width", RawPng.Build(0, 4, 8, RawPng.Grey, []), "header is damaged" },
            { "negative width", RawPng.Build(-1, 4, 8, RawPng.Grey, []), "header is damaged" },
            { "limit", RawPng.Build(20_000, 20_000, 8, RawPng.Grey, []), "exceed the limit" },
            { "bomb's opposite", RawPng.Build(9_999, 9_999, 8, RawPng.Grey, rows), "cannot fill 9999 x 9999" },
            { "too few rows", RawPng.Build(4, 5, 8, RawPng.Grey, rows), "cut short" },
            { "too many rows", RawPng.Build(4, 3, 8, RawPng.Grey, rows), "more pixels" },
            { "filter", RawPng.Build(4, 4, 8, RawPng.Grey, badFilter), "unknown row filter 9" },
            { "not zlib", [.. RawPng.Head(4, 4, 8, RawPng.Grey), .. RawPng.Chunk("IDAT", rows), .. RawPng.Chunk("IEND", [])], "damaged" },
        };
    }

    [Theory]
    [MemberData(nameof(Unsound), DisableDiscoveryEnumeration = true)]
    public void UnsoundLabelsAreRefusedWithTheirReason(string what, byte[] file, string reason)
    {
        ImageFormatException error = Assert.Throws<ImageFormatException>(() => ImageCodec.DecodeLabels(file, what + ".png"));
        Assert.StartsWith(what + ".png: ", error.Message, StringComparison.Ordinal);
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void EveryTruncationIsRefused()
    {
        byte[] good = RawPng.Build(16, 16, 8, RawPng.Grey, RawPng.PackRows(16, 16, 8, (x, y) => x * y));
        for (int length = 0; length < good.Length; length++)
        {
            Assert.Throws<ImageFormatException>(() => ImageCodec.DecodeLabels(good.AsSpan(0, length), "x"));
        }
    }

    [Fact]
    public void DecompressionBombStopsAtThePixelsItDeclares()
    {
        byte[] file = RawPng.Build(4, 4, 8, RawPng.Grey, new byte[50_000_000]);
        Assert.Throws<ImageFormatException>(() => ImageCodec.DecodeLabels(file, "x"));
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Throws<ImageFormatException>(() => ImageCodec.DecodeLabels(file, "x"));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 18);
    }
}
