using DwrSeg.Native.Formats;
using SkiaSharp;
using Xunit;

namespace DwrSeg.Native.Tests.Formats;

public sealed class ImageCodecTests
{
    [Fact]
    public void RgbSurvivesWritingAndReadingExactly()
    {
        using TemporaryFolder folder = new();
        string path = folder.File("a.png");
        RgbImage image = new(67, 45);
        new Random(3).NextBytes(image.Pixels);
        ImageCodec.SaveRgb(path, 67, 45, image.Pixels);
        Assert.Equal(RawPng.Color, File.ReadAllBytes(path)[25]);
        RgbImage read = ImageCodec.Decode(path);
        Assert.Equal((67, 45), (read.Width, read.Height));
        Assert.Equal(image.Pixels, read.Pixels);
    }

    [Fact]
    public void SmoothImagesCompressByTheirRowFilters()
    {
        using TemporaryFolder folder = new();
        string path = folder.File("a.png");
        ImageCodec.SaveRgb(path, 256, 256, Gradient(256, 256).Pixels);
        Assert.InRange(new FileInfo(path).Length, 1, 256 * 256 * 3 / 20);
        Assert.Equal(Gradient(256, 256).Pixels, ImageCodec.Decode(path).Pixels);
    }

    [Theory]
    [InlineData(SKEncodedImageFormat.Jpeg)]
    [InlineData(SKEncodedImageFormat.Webp)]
    [InlineData(SKEncodedImageFormat.Png)]
    public void CommonFormatsAreDecoded(SKEncodedImageFormat format)
    {
        RgbImage expected = Gradient(64, 48);
        RgbImage read = ImageCodec.Decode(Encode(expected, format), "x");
        Assert.Equal((64, 48), (read.Width, read.Height));
        // Lossy formats at quality 95: a smooth gradient moves by a few grey levels at most.
        int tolerance = format == SKEncodedImageFormat.Png ? 0 : 10;
        for (int i = 0; i < expected.Pixels.Length; i++)
        {
            Assert.InRange(read.Pixels[i], Math.Max(0, expected.Pixels[i] - tolerance), expected.Pixels[i] + tolerance);
        }
    }

    [Fact]
    public void FileStreamAndMemoryGiveTheSame()
    {
        using TemporaryFolder folder = new();
        byte[] encoded = Encode(Gradient(200, 100), SKEncodedImageFormat.Jpeg);
        string path = folder.File("a.jpg");
        File.WriteAllBytes(path, encoded);
        RgbImage fromFile = ImageCodec.Decode(path), fromMemory = ImageCodec.Decode(encoded, "x");
        using FileStream file = File.OpenRead(path);
        using BufferedStream unknownLength = new(new NotSeekable(file));
        Assert.Equal(fromMemory.Pixels, fromFile.Pixels);
        Assert.Equal(fromMemory.Pixels, ImageCodec.Decode(unknownLength, "x").Pixels);
    }

    [Fact]
    public void GreyIsRepeatedAlphaDroppedAndSixteenBitsCut()
    {
        Assert.Equal([9, 9, 9, 200, 200, 200], ImageCodec.Decode(RawPng.Build(2, 1, 8, RawPng.Grey, [0, 9, 200]), "x").Pixels.ToArray());
        Assert.Equal([10, 20, 30], ImageCodec.Decode(RawPng.Build(1, 1, 8, RawPng.ColorAlpha, [0, 10, 20, 30, 128]), "x").Pixels.ToArray());
        Assert.Equal([10, 20, 30], ImageCodec.Decode(RawPng.Build(1, 1, 8, RawPng.ColorAlpha, [0, 10, 20, 30, 0]), "x").Pixels.ToArray());
        Assert.Equal([40, 40, 40], ImageCodec.Decode(RawPng.Build(1, 1, 8, RawPng.GreyAlpha, [0, 40, 7]), "x").Pixels.ToArray());
        Assert.Equal([1, 2, 3], ImageCodec.Decode(RawPng.Build(1, 1, 16, RawPng.Color, [0, 1, 1, 2, 2, 3, 3]), "x").Pixels.ToArray());
        Assert.Equal([1, 1, 1], ImageCodec.Decode(RawPng.Build(1, 1, 16, RawPng.Grey, [0, 1, 1]), "x").Pixels.ToArray());
    }

    [Theory]
    [InlineData(1, "ABCDEF", 3)]
    [InlineData(2, "CBAFED", 3)]
    [InlineData(3, "FEDCBA", 3)]
    [InlineData(4, "DEFABC", 3)]
    [InlineData(5, "ADBECF", 2)]
    [InlineData(6, "DAEBFC", 2)]
    [InlineData(7, "FCEBDA", 2)]
    [InlineData(8, "CFBEAD", 2)]
    public void ExifOrientationIsApplied(int orientation, string expected, int columns)
    {
        // Six blocks of 16 x 16 pixels, A to F from dark to light in reading order: whole JPEG blocks, so their grey is nearly exact.
        RgbImage stored = new(48, 32);
        for (int i = 0; i < stored.Pixels.Length; i++) stored.Pixels[i] = (byte)(i / 3 / 48 / 16 * 120 + i / 3 % 48 / 16 * 40 + 20);
        RgbImage read = ImageCodec.Decode(RawJpeg.WithOrientation(Encode(stored, SKEncodedImageFormat.Jpeg), orientation), "x");
        Assert.Equal(columns * 16, read.Width);
        string found = "";
        for (int block = 0; block < 6; block++)
        {
            int x = block % columns * 16 + 8, y = block / columns * 16 + 8;
            found += (char)('A' + read.Pixels[(y * read.Width + x) * 3] / 40);
        }
        Assert.Equal(expected, found);
    }

    [Fact]
    public void CmykBecomesRgb()
    {
        RgbImage read = ImageCodec.Decode(RawJpeg.InvertedCmyk(228, 100, 28, 200), "x");
        // Inverted inks multiply: red = cyan · black / 255. Decoders round differently.
        Assert.Equal((8, 8), (read.Width, read.Height));
        Assert.InRange(read.Pixels[0], 228 * 200 / 255 - 2, 228 * 200 / 255 + 2);
        Assert.InRange(read.Pixels[1], 100 * 200 / 255 - 2, 100 * 200 / 255 + 2);
        Assert.InRange(read.Pixels[2], 28 * 200 / 255 - 2, 28 * 200 / 255 + 2);
    }

    [Theory]
    [InlineData(SKEncodedImageFormat.Jpeg)]
    [InlineData(SKEncodedImageFormat.Png)]
    [InlineData(SKEncodedImageFormat.Webp)]
    public void TruncatedImageIsAnErrorNotAPartOfAPicture(SKEncodedImageFormat format)
    {
        RgbImage noise = new(64, 64);
        new Random(5).NextBytes(noise.Pixels);
        byte[] encoded = Encode(noise, format);
        foreach (int percent in new[] { 1, 10, 50, 90, 99 })
        {
            byte[] part = encoded[..(encoded.Length * percent / 100)];
            Assert.Contains("x.img: ",
                Assert.Throws<ImageFormatException>(() => ImageCodec.Decode(part, "x.img")).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void JpegWithoutItsLastBytesIsAnError()
    {
        byte[] encoded = Encode(Gradient(64, 64), SKEncodedImageFormat.Jpeg);
        for (int missing = 1; missing < 40; missing++)
        {
            Assert.Throws<ImageFormatException>(() => ImageCodec.Decode(encoded.AsSpan(0, encoded.Length - missing), "x"));
        }
    }

    public static TheoryData<string, byte[]> Jpegs => new()
    {
        { "one scan", RawJpeg.Grey(9, 3, 200) },
        { "restart markers", RawJpeg.GreyWithRestarts(9, 3, 200) },
        { "two scans", RawJpeg.ProgressiveGrey(9, 3, 200) },
        { "a thumbnail", RawJpeg.WithSegment(RawJpeg.Grey(9, 3, 200), 0xE1, [.. "Exif\0\0"u8, .. RawJpeg.Grey(1, 1, 9)]) },
        { "fill bytes", (byte[])[0xFF, 0xD8, 0xFF, 0xFF, 0xFF, .. RawJpeg.Grey(9, 3, 200)[2..^2], 0xFF, 0xFF, 0xFF, 0xD9] },
    };

    // A second picture, as in pictures taken twice at once, and a film, as in pictures that move: both hold scans and ends.
    private static byte[][] Trailers => [RawJpeg.Grey(2, 2, 1), [.. "ftypmp42"u8, 0xFF, 0xDA, 1, 2, 3, 4, 5], [0xFF, 0xDA, 0xFF, 0xD9], [0], []];

    [Theory]
    [MemberData(nameof(Jpegs))]
    public void JpegIsReadWhateverFollowsItsEnd(string kind, byte[] jpeg)
    {
        foreach (byte[] trailer in Trailers)
        {
            RgbImage read = ImageCodec.Decode([.. jpeg, .. trailer], kind);
            Assert.Equal((72, 24), (read.Width, read.Height));
            Assert.All(read.Pixels.ToArray(), value => Assert.Equal(200, value));
        }
    }

    [Theory]
    [MemberData(nameof(Jpegs))]
    public void JpegThatBreaksOffIsRefusedWhateverFollows(string kind, byte[] jpeg)
    {
        // Cut within its header it takes over what the second picture's says, and only a decoder could tell.
        int pixels = jpeg.AsSpan().LastIndexOf((ReadOnlySpan<byte>)[0xFF, 0xDA]) + 10;
        for (int length = 2; length < jpeg.Length - 2; length++)
        {
            byte[][] trailers = [[], [.. "ftypmp42"u8, 0xFF, 0x31, 0x07, 0xFF, 0xD9], .. length < pixels ? [] : new[] { RawJpeg.Grey(2, 2, 1) }];
            foreach (byte[] trailer in trailers)
            {
                byte[] file = [.. jpeg[..length], .. trailer];
                Assert.False(JpegMarkers.IsComplete(file), $"{kind}, cut to {length} of {jpeg.Length} bytes, and {trailer.Length} more");
                Assert.Throws<ImageFormatException>(() => ImageCodec.Decode(file, kind));
            }
        }
    }

    [Fact]
    public void MarkersOfManyBytesAreWalkedOnce()
    {
        // Quadratic time would take minutes.
        byte[] file = new byte[20_000_000];
        foreach (byte filling in (byte[])[0xFF, 0, 0xD0])
        {
            for (int i = 0; i < file.Length; i += 2) (file[i], file[i + 1]) = (0xFF, filling);
            (file[0], file[1]) = (0xFF, 0xD8);
            Assert.False(JpegMarkers.IsComplete(file));
        }
    }

    [Fact]
    public void SizeIsCheckedBeforeAnyPixelIsDecoded()
    {
        byte[] file = RawPng.Build(60_000, 60_000, 8, RawPng.Color, [0]);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Contains("60000 x 60000 pixels exceed the limit of 100000000",
            Assert.Throws<ImageFormatException>(() => ImageCodec.Decode(file, "x")).Message, StringComparison.Ordinal);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
        byte[] small = Encode(Gradient(10, 10), SKEncodedImageFormat.Png);
        Assert.Throws<ImageFormatException>(() => ImageCodec.Decode(small, "x", maxPixels: 99));
        Assert.Equal(10, ImageCodec.Decode(small, "x", maxPixels: 100).Width);
    }

    [Fact]
    public void MissingEmptyAndForeignFilesAreNamed()
    {
        using TemporaryFolder folder = new();
        string path = folder.File("a.jpg");
        Assert.Contains(path, Assert.Throws<FileNotFoundException>(() => ImageCodec.Decode(path)).Message, StringComparison.Ordinal);
        Assert.Throws<ImageFormatException>(() => ImageCodec.Decode(folder.Path));
        File.WriteAllText(path, "");
        Assert.Contains("is empty", Assert.Throws<ImageFormatException>(() => ImageCodec.Decode(path)).Message, StringComparison.Ordinal);
        File.WriteAllText(path, "not an image, just words, and enough of them to fill any signature");
        Assert.Contains("no image that can be decoded",
            Assert.Throws<ImageFormatException>(() => ImageCodec.Decode(path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void BufferIsReusedForSmallerImages()
    {
        RgbImage into = new(100, 100);
        Assert.Same(into, ImageCodec.Decode(Encode(Gradient(10, 10), SKEncodedImageFormat.Png), "x", into));
        Assert.Equal(300, into.Pixels.Length);
    }

    [Fact]
    public void PixelsThatDoNotFillTheSizeAreRefused()
    {
        Assert.Throws<ArgumentException>(() => ImageCodec.SaveRgb("a.png", 2, 2, new byte[11]));
        Assert.Throws<ArgumentOutOfRangeException>(() => ImageCodec.SaveLabels("a.png", 0, 2, []));
    }

    private static RgbImage Gradient(int width, int height)
    {
        RgbImage image = new(width, height);
        for (int y = 0; y < height; y++)
        {
            for (int x = 0; x < width; x++)
            {
                Span<byte> pixel = image.Pixels[((y * width + x) * 3)..];
                pixel[0] = (byte)(x * 200 / width);
                pixel[1] = (byte)(y * 200 / height);
                pixel[2] = (byte)((x + y) * 200 / (width + height));
            }
        }
        return image;
    }

    private static byte[] Encode(RgbImage image, SKEncodedImageFormat format)
    {
        using SKBitmap bitmap = new(new SKImageInfo(image.Width, image.Height, SKColorType.Rgb888x, SKAlphaType.Opaque));
        for (int y = 0; y < image.Height; y++)
        {
            for (int x = 0; x < image.Width; x++)
            {
                ReadOnlySpan<byte> pixel = image.Pixels[((y * image.Width + x) * 3)..];
                bitmap.SetPixel(x, y, new SKColor(pixel[0], pixel[1], pixel[2]));
            }
        }
        using SKData data = bitmap.Encode(format, 95);
        return data.ToArray();
    }

    private sealed class NotSeekable(Stream inner) : Stream
    {
        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override int Read(byte[] buffer, int offset, int count) => inner.Read(buffer, offset, Math.Min(count, 100));

        public override void Flush() => inner.Flush();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
