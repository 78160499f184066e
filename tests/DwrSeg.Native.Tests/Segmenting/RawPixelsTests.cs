using DwrSeg.Native.Formats;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using Xunit;

namespace DwrSeg.Native.Tests.Segmenting;

/// <summary>Pixels in the caller's memory, results in the caller's memory.</summary>
public sealed class RawPixelsTests : IDisposable
{
    private const int Width = 53, Height = 39;
    private const byte Poison = 0xA5;

    private readonly TemporaryFolder _folder = new();
    private readonly Segmenter _segmenter;

    public RawPixelsTests() => _segmenter = Segmenter.Load(SmallModel.Save(_folder.File("model.safetensors"), inputSize: (32, 48)));

    public static TheoryData<PixelFormat, int> Layouts
    {
        get
        {
            var layouts = new TheoryData<PixelFormat, int>();
            foreach (PixelFormat format in Enum.GetValues<PixelFormat>())
            {
                foreach (int padding in (int[])[0, 1, 13, 64]) layouts.Add(format, padding);
            }
            return layouts;
        }
    }

    public void Dispose()
    {
        _segmenter.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void EveryFormatAndStrideGivesTheSame(PixelFormat format, int padding)
    {
        (byte[] expected, byte[] expectedConfidence) = Reference();
        byte[] pixels = Layout(Picture, format, padding);
        byte[] classes = new byte[Width * Height], confidence = new byte[classes.Length];
        _segmenter.Run(pixels, Width, Height, RowBytes(format, padding), format, classes, confidence);
        Assert.Equal(expected, classes);
        Assert.Equal(expectedConfidence, confidence);
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void NothingIsWrittenOutsideTheResultAndNoPixelIsTouched(PixelFormat format, int padding)
    {
        (byte[] expected, byte[] expectedConfidence) = Reference();
        byte[] pixels = Layout(Picture, format, padding), before = [.. pixels];
        byte[] classes = new byte[Width * Height + 200], confidence = new byte[classes.Length];
        classes.AsSpan().Fill(Poison);
        confidence.AsSpan().Fill(Poison);
        // Longer than needed at the end, and with something before it.
        _segmenter.Run(pixels, Width, Height, RowBytes(format, padding), format, classes.AsSpan(77), confidence.AsSpan(77));
        Assert.Equal(before, pixels);
        AssertFramed(expected, classes);
        AssertFramed(expectedConfidence, confidence);

        static void AssertFramed(byte[] expected, byte[] found)
        {
            Assert.All(found[..77], b => Assert.Equal(Poison, b));
            Assert.Equal(expected, found[77..(77 + expected.Length)]);
            Assert.All(found[(77 + expected.Length)..], b => Assert.Equal(Poison, b));
        }
    }

    [Fact]
    public void WithoutConfidenceTheClassesAreTheSame()
    {
        byte[] classes = new byte[Width * Height];
        _segmenter.Run(Picture, Width, Height, Width * 3, PixelFormat.Rgb, classes);
        Assert.Equal(Reference().Classes, classes);
    }

    [Fact]
    public void FileStreamEncodedBytesAndPixelsGiveTheSame()
    {
        string path = _folder.File("a.png");
        ImageCodec.SaveRgb(path, Width, Height, Picture);
        byte[] file = File.ReadAllBytes(path);
        using var stream = new MemoryStream([.. "before"u8, .. file]) { Position = 6 };
        Segmentation[] results = [_segmenter.Run(path, true), _segmenter.Run(stream, true), _segmenter.Run(file.AsSpan(), true)];
        Assert.True(stream.CanRead);
        foreach (Segmentation result in results)
        {
            Assert.Equal((Width, Height), (result.Width, result.Height));
            Assert.Equal(Reference().Classes, result.Classes.ToArray());
            Assert.Equal(Reference().Confidence, result.Confidence.ToArray());
        }
        Assert.True(_segmenter.Run(path).Confidence.IsEmpty);
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void OverlayOfEveryLayoutIsTheImageBlendedWithTheColours(PixelFormat format, int padding)
    {
        byte[] classes = Reference().Classes, pixels = Layout(Picture, format, padding), overlay = new byte[pixels.Length];
        classes[5] = 200;
        overlay.AsSpan().Fill(Poison);
        int rowBytes = RowBytes(format, padding), pixelBytes = format.BytesPerPixel();
        _segmenter.PaintOverlay(pixels, Width, Height, rowBytes, format, classes, overlay, opacity: 0.25);
        for (int i = 0; i < overlay.Length; i++)
        {
            int y = i / rowBytes, x = i % rowBytes / pixelBytes, channel = i % rowBytes % pixelBytes;
            if (x >= Width)
            {
                Assert.Equal(Poison, overlay[i]);
                continue;
            }
            byte id = classes[y * Width + x];
            if (channel == 3 || id == 200)
            {
                Assert.Equal(pixels[i], overlay[i]);
                continue;
            }
            Rgb color = _segmenter.Classes.Colors[id];
            bool isBlueFirst = format is PixelFormat.Bgr or PixelFormat.Bgra;
            byte[] channels = isBlueFirst ? [color.B, color.G, color.R] : [color.R, color.G, color.B];
            // 0.25 is exact in 1/256, so the rounded value is off by one half at most.
            Assert.InRange(overlay[i], 0.75 * pixels[i] + 0.25 * channels[channel] - 0.5, 0.75 * pixels[i] + 0.25 * channels[channel] + 0.5);
        }

        _segmenter.PaintOverlay(pixels, Width, Height, rowBytes, format, classes, pixels, opacity: 0.25);
        for (int i = 0; i < pixels.Length; i++)
        {
            if (i % rowBytes / pixelBytes < Width) Assert.Equal(overlay[i], pixels[i]);
        }
    }

    [Fact]
    public void ResultDescribesItself()
    {
        string path = _folder.File("a.png");
        ImageCodec.SaveRgb(path, Width, Height, Picture);
        Segmentation result = _segmenter.Run(path);
        Assert.Equal(result.Classes.Span[7 * Width + 11], result[11, 7]);
        Assert.Throws<ArgumentOutOfRangeException>(() => result[Width, 0]);
        Assert.Throws<ArgumentOutOfRangeException>(() => result[0, -1]);
        double[] shares = result.ClassShares();
        Assert.Equal(_segmenter.Classes.Count, shares.Length);
        Assert.Equal(1, shares.Sum(), 12);
        Assert.Equal(result.Classes.ToArray().Count(c => c == 1) / (double)(Width * Height), shares[1], 12);

        result.SaveClasses(_folder.File("classes.png"));
        LabelImage classes = ImageCodec.DecodeLabels(_folder.File("classes.png"));
        Assert.Equal(result.Classes.ToArray(), classes.Ids.ToArray());
        result.SaveOverlay(_folder.File("overlay.png"), opacity: 1);
        RgbImage overlay = ImageCodec.Decode(_folder.File("overlay.png"));
        Rgb color = result.ClassList.Colors[result[0, 0]];
        Assert.Equal([color.R, color.G, color.B], overlay.Pixels[..3].ToArray());
        Assert.Equal(Picture, result.Overlay(opacity: 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => result.Overlay(1.5));
        Assert.Throws<ArgumentOutOfRangeException>(() => result.Overlay(double.NaN));
    }

    private static byte[] Picture { get; } = SmallModel.Picture(Width, Height, seed: 4);

    private (byte[] Classes, byte[] Confidence) Reference()
    {
        byte[] classes = new byte[Width * Height], confidence = new byte[classes.Length];
        classes.AsSpan().Fill(Poison);
        _segmenter.Run(Picture, Width, Height, Width * 3, PixelFormat.Rgb, classes, confidence);
        return (classes, confidence);
    }

    private static int RowBytes(PixelFormat format, int padding) => Width * format.BytesPerPixel() + padding;

    // Exactly as long as needed: the last row has no padding. Fourth bytes and padding are noise.
    private static byte[] Layout(byte[] rgb, PixelFormat format, int padding)
    {
        int pixelBytes = format.BytesPerPixel(), rowBytes = RowBytes(format, padding);
        byte[] pixels = new byte[(Height - 1) * rowBytes + Width * pixelBytes];
        new Random(1).NextBytes(pixels);
        bool isBlueFirst = format is PixelFormat.Bgr or PixelFormat.Bgra;
        for (int p = 0; p < Width * Height; p++)
        {
            for (int c = 0; c < 3; c++) pixels[p / Width * rowBytes + p % Width * pixelBytes + (isBlueFirst ? 2 - c : c)] = rgb[p * 3 + c];
        }
        return pixels;
    }
}
