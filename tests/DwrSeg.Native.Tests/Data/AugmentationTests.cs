using DwrSeg.Native.Backends;
using DwrSeg.Native.Data;
using Xunit;

namespace DwrSeg.Native.Tests.Data;

public sealed class AugmentationTests
{
    // Values come back as v / 255.
    private static readonly Normalization Unit = new(0, 0, 0, 1, 1, 1);

    private static AugmentationOptions Options(int width, int height) => new()
    {
        CropWidth = width,
        CropHeight = height,
        Normalization = Unit,
    };

    private static (float[] Image, byte[] Labels) Apply(AugmentationOptions options, SegmentationSample sample, Augmentation.Choice choice)
    {
        Augmentation augmentation = new(options);
        float[] image = new float[augmentation.ImageLength];
        byte[] labels = new byte[augmentation.LabelLength];
        image.AsSpan().Fill(float.NaN);
        labels.AsSpan().Fill(77);
        augmentation.Apply(new PackedSample(sample), choice, new Augmentation.Scratch(), image, labels);
        return (image, labels);
    }

    private static Augmentation.Choice Plain(int width, int height, int left = 0, int top = 0, bool flip = false)
        => new(width, height, left, top, flip, 1, 1, 1);

    [Fact]
    public void ColoursAndLabelsStayTogether_UnderScaleCropAndFlip()
    {
        ArrayDataset blocks = new(1, 120, 88);
        PackedSample sample = new(blocks.Load(0));
        AugmentationOptions options = Options(96, 72) with { MinScale = 0.3, MaxScale = 2.2, Brightness = 0, Contrast = 0, Saturation = 0 };
        Augmentation augmentation = new(options);
        float[] image = new float[augmentation.ImageLength];
        byte[] labels = new byte[augmentation.LabelLength];
        Augmentation.Scratch scratch = new();
        int pure = 0, shown = 0;
        for (int epoch = 0; epoch < 40; epoch++)
        {
            augmentation.Apply(sample, new SampleRandom(5, epoch, 0), scratch, image, labels);
            for (int i = 0; i < labels.Length; i++)
            {
                if (labels[i] == SegmentationSample.Ignore)
                {
                    Assert.Equal((0f, 0f, 0f), (image[3 * i], image[3 * i + 1], image[3 * i + 2]));
                    continue;
                }
                shown++;
                // Where all taps lie in one block the colour is that of a class, and nearest picks one of these taps. Normalisation
                // rounds, hence a hundredth of a grey level.
                for (int id = 0; id < blocks.Classes.Count; id++)
                {
                    byte[] colour = ArrayDataset.Colour(id);
                    if (Enumerable.Range(0, 3).Any(c => Math.Abs(image[3 * i + c] * 255 - colour[c]) > 0.01)) continue;
                    Assert.Equal(id, labels[i]);
                    pure++;
                }
            }
        }
        Assert.True(pure > 0.6 * shown, $"{pure} of {shown} pixels are pure");
    }

    [Fact]
    public void FullSizeCropWithoutChanges_IsTheNormalisedImage()
    {
        SegmentationSample sample = new ArrayDataset(1, 37, 23).Load(0);
        AugmentationOptions options = Options(37, 23) with { Normalization = Normalization.ImageNet };
        (float[] image, byte[] labels) = Apply(options, sample, Plain(37, 23));
        Assert.Equal(sample.Labels, labels);
        float[] mean = [0.485f, 0.456f, 0.406f], deviation = [0.229f, 0.224f, 0.225f];
        for (int i = 0; i < image.Length; i++)
        {
            // Values reach 2.6; the tolerance is a few roundings of a float that size.
            Assert.Equal((sample.Rgb[i] / 255f - mean[i % 3]) / deviation[i % 3], image[i], 2e-6f);
        }
    }

    [Theory]
    [InlineData(61, 45)]
    [InlineData(31, 20)]
    [InlineData(40, 30)]
    public void ImageIsBilinearAtHalfPixelCentres_LabelsAreNearest(int scaledWidth, int scaledHeight)
    {
        const int Width = 40, Height = 30;
        Random random = new(3);
        byte[] rgb = new byte[Width * Height * 3], ids = new byte[Width * Height];
        random.NextBytes(rgb);
        for (int i = 0; i < ids.Length; i++) ids[i] = (byte)random.Next(11);
        (float[] image, byte[] labels) = Apply(Options(scaledWidth, scaledHeight), new("noise", Width, Height, rgb, ids),
            Plain(scaledWidth, scaledHeight));
        for (int y = 0; y < scaledHeight; y++)
        {
            double sy = (y + 0.5) * Height / scaledHeight;
            for (int x = 0; x < scaledWidth; x++)
            {
                double sx = (x + 0.5) * Width / scaledWidth;
                Assert.Equal(ids[(int)sy * Width + (int)sx], labels[y * scaledWidth + x]);
                for (int c = 0; c < 3; c++)
                {
                    double expected = 0;
                    for (int v = 0; v < Height; v++)
                    {
                        double weightY = Tent(sy, v, Height);
                        if (weightY == 0) continue;
                        for (int u = 0; u < Width; u++) expected += weightY * Tent(sx, u, Width) * rgb[(v * Width + u) * 3 + c];
                    }
                    // Single precision over values up to 255, divided by 255.
                    Assert.Equal(expected / 255, image[(y * scaledWidth + x) * 3 + c], 1e-6);
                }
            }
        }

        // The weight that bilinear interpolation gives to pixel u, which takes over from its missing neighbours at the edge.
        static double Tent(double centre, int u, int length)
        {
            double position = Math.Clamp(centre - 0.5, 0, length - 1);
            return Math.Max(0, 1 - Math.Abs(position - u));
        }
    }

    [Fact]
    public void FarDownscaledImage_IsAveragedNotSampled()
    {
        const int Size = 64;
        byte[] rgb = new byte[Size * Size * 3];
        for (int i = 0; i < Size * Size; i++) rgb.AsSpan(3 * i, 3).Fill((byte)((i + i / Size) % 2 * 255));
        (float[] image, _) = Apply(Options(12, 12), new("checkers", Size, Size, rgb, new byte[Size * Size]), Plain(12, 12));
        // Averages of 0 and 255 round to 127 or 128.
        Assert.All(image, value => Assert.Equal(0.5, value, 0.003));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void PaddingIsMeanColourAndIgnored(bool flip)
    {
        SegmentationSample sample = new ArrayDataset(1, 32, 24).Load(0);
        // A 16x12 image whose top left corner lies at (5, 3) of a 30x20 crop.
        AugmentationOptions options = Options(30, 20) with { Normalization = Normalization.ImageNet };
        (float[] image, byte[] labels) = Apply(options, sample, Plain(16, 12, -5, -3, flip));
        for (int y = 0; y < 20; y++)
        {
            for (int x = 0; x < 30; x++)
            {
                int from = flip ? 29 - x : x;
                bool inside = from is >= 5 and < 21 && y is >= 3 and < 15;
                int i = y * 30 + x;
                Assert.Equal(inside, labels[i] != SegmentationSample.Ignore);
                // The mean normalises to nothing.
                if (!inside) Assert.True(image[3 * i] == 0 && image[3 * i + 1] == 0 && image[3 * i + 2] == 0);
                else Assert.NotEqual(0, image[3 * i]);
            }
        }
    }

    [Fact]
    public void FlippedCrop_IsTheMirroredCrop()
    {
        SegmentationSample sample = new ArrayDataset(1, 50, 40).Load(0);
        (float[] image, byte[] labels) = Apply(Options(31, 17), sample, Plain(63, 51, 20, 11));
        (float[] flippedImage, byte[] flippedLabels) = Apply(Options(31, 17), sample, Plain(63, 51, 20, 11, flip: true));
        for (int y = 0; y < 17; y++)
        {
            for (int x = 0; x < 31; x++)
            {
                int a = y * 31 + x, b = y * 31 + 30 - x;
                Assert.Equal(labels[a], flippedLabels[b]);
                Assert.Equal(image.AsSpan(3 * a, 3), flippedImage.AsSpan(3 * b, 3));
            }
        }
    }

    [Fact]
    public void Jitter_IsBrightnessThenContrastThenSaturation()
    {
        const float Brightness = 0.8f, Contrast = 0.7f, Saturation = 1.3f;
        byte[] rgb = [200, 100, 50, 90, 140, 160, 30, 60, 80, 120, 110, 100];
        Augmentation.Choice choice = new(2, 2, 0, 0, false, Brightness, Contrast, Saturation);
        (float[] image, _) = Apply(Options(2, 2), new("four", 2, 2, rgb, new byte[4]), choice);
        double[] values = [.. rgb.Select(v => (double)v * Brightness)];
        double mean = Enumerable.Range(0, 4).Average(i => Luma(values, i));
        values = [.. values.Select(v => mean + (v - mean) * Contrast)];
        double[] expected = [.. values.Select((v, i) => (Luma(values, i / 3) + (v - Luma(values, i / 3)) * Saturation) / 255)];
        for (int i = 0; i < 12; i++) Assert.Equal(expected[i], image[i], 1e-6);

        static double Luma(double[] values, int i) => 0.299 * values[3 * i] + 0.587 * values[3 * i + 1] + 0.114 * values[3 * i + 2];
    }

    [Fact]
    public void JitteredValues_StayWithinBlackAndWhite()
    {
        byte[] rgb = [255, 0, 128, 250, 5, 0];
        (float[] image, _) = Apply(Options(2, 1), new("two", 2, 1, rgb, new byte[2]), new(2, 1, 0, 0, false, 1.5f, 1.5f, 1.5f));
        Assert.All(image, value => Assert.InRange(value, 0f, 1f));
        Assert.Contains(1f, image);
        Assert.Contains(0f, image);
    }

    [Fact]
    public void DrawnChoices_CoverTheirRangesAndNoMore()
    {
        Augmentation augmentation = new(Options(100, 100) with { Brightness = 0.4, Contrast = 0.3, Saturation = 0.2 });
        Augmentation.Choice[] choices = [.. Enumerable.Range(0, 4000).Select(i => augmentation.Draw(120, 80, new SampleRandom(9, 0, i)))];
        Assert.Equal(60, choices.Min(c => c.ScaledWidth));
        Assert.Equal(240, choices.Max(c => c.ScaledWidth));
        Assert.All(choices, c =>
        {
            Assert.Equal(c.ScaledWidth / 120.0, c.ScaledHeight / 80.0, 1.0 / 80);
            Assert.InRange(c.Left, Math.Min(0, c.ScaledWidth - 100), Math.Max(0, c.ScaledWidth - 100));
            Assert.InRange(c.Top, Math.Min(0, c.ScaledHeight - 100), Math.Max(0, c.ScaledHeight - 100));
        });
        // Four thousand draws come within a hundredth of a range's ends, and an even coin within 4 sigma (0.032) of a half.
        Check(choices.Select(c => c.Brightness), 0.6, 1.4);
        Check(choices.Select(c => c.Contrast), 0.7, 1.3);
        Check(choices.Select(c => c.Saturation), 0.8, 1.2);
        Assert.Equal(0.5, choices.Average(c => c.Flip ? 1.0 : 0), 0.032);

        static void Check(IEnumerable<float> values, double low, double high)
        {
            float[] drawn = [.. values];
            Assert.InRange(drawn.Min(), low - 1e-6, low + 0.01);
            Assert.InRange(drawn.Max(), high - 0.01, high + 1e-6);
        }
    }

    [Fact]
    public void SwitchingOneChangeOff_LeavesTheOthersAsDrawn()
    {
        AugmentationOptions options = Options(64, 64);
        Augmentation.Choice all = new Augmentation(options).Draw(90, 70, new SampleRandom(1, 2, 3));
        AugmentationOptions fewer = options with { Brightness = 0, FlipProbability = 0 };
        Augmentation.Choice some = new Augmentation(fewer).Draw(90, 70, new SampleRandom(1, 2, 3));
        Assert.Equal(all with { Brightness = 1, Flip = false }, some);
    }

    [Fact]
    public void OptionsOutOfRange_AreRefusedByName()
    {
        AugmentationOptions options = Options(64, 64);
        Assert.Contains("crop", Message(options with { CropWidth = 0 }));
        Assert.Contains("scale range", Message(options with { MinScale = 2, MaxScale = 1 }));
        Assert.Contains("scale range", Message(options with { MinScale = double.NaN }));
        Assert.Contains("flip", Message(options with { FlipProbability = 1.5 }));
        Assert.Contains("contrast", Message(options with { Contrast = -0.1 }));
        Assert.Contains("normalization", Message(options with { Normalization = Unit with { DeviationB = 0 } }));

        static string Message(AugmentationOptions options) => Assert.Throws<ArgumentException>(() => new Augmentation(options)).Message;
    }

    [Theory]
    [InlineData(480, 360, 480, 360)]
    [InlineData(960, 720, 960, 720)]
    [InlineData(1920, 1440, 960, 720)]
    [InlineData(2000, 1000, 960, 480)]
    public void DefaultCrop_IsTheFrameShrunkToFit960x720(int width, int height, int cropWidth, int cropHeight)
    {
        AugmentationOptions options = AugmentationOptions.For(new ArrayDataset(1, width, height));
        Assert.Equal((cropWidth, cropHeight), (options.CropWidth, options.CropHeight));
        Assert.Equal((0.5, 2.0), (options.MinScale, options.MaxScale));
    }
}
