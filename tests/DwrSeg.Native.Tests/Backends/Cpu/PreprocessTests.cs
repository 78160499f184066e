using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Backends.Cpu.Kernels;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cpu;

public sealed class PreprocessTests : IDisposable
{
    private readonly WorkerPool _pool = new(3);

    public void Dispose() => _pool.Dispose();

    public static IEnumerable<TheoryDataRow<PixelFormat, int, int, int, int>> Cases()
    {
        foreach (PixelFormat format in Enum.GetValues<PixelFormat>())
        {
            yield return (format, 1, 1, 1, 1);
            yield return (format, 1, 1, 6, 5);
            yield return (format, 13, 17, 13, 17);
            yield return (format, 13, 17, 37, 41);
            yield return (format, 53, 47, 20, 19);
            yield return (format, 9, 33, 64, 33);
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void ResizesAndNormalises(PixelFormat format, int h, int w, int toH, int toW)
    {
        Random random = new(h * w);
        int pixelBytes = format is PixelFormat.Rgb or PixelFormat.Bgr ? 3 : 4, rowBytes = w * pixelBytes + random.Next(7);
        bool swapped = format is PixelFormat.Bgr or PixelFormat.Bgra;
        // No byte more than the last row needs.
        byte[] pixels = new byte[(h - 1) * rowBytes + w * pixelBytes];
        random.NextBytes(pixels);
        double[] mean = [0.485f, 0.456f, 0.406f], deviation = [0.229f, 0.224f, 0.225f];
        using Slice y = Slice.Random(random, 1, toH, toW, 3);
        Preprocess.Run(_pool, new ImageView(pixels, w, h, rowBytes, format), y.Map, Normalization.ImageNet);

        Doubles expected = new(1, toH, toW, 3);
        for (int i = 0; i < toH; i++)
        for (int j = 0; j < toW; j++)
        for (int c = 0; c < 3; c++)
        {
            (int r0, int r1, double wr) = Source(i, h, toH);
            (int c0, int c1, double wc) = Source(j, w, toW);
            double At(int r, int k) => pixels[r * rowBytes + k * pixelBytes + (swapped ? 2 - c : c)];
            double v = (At(r0, c0) * (1 - wc) + At(r0, c1) * wc) * (1 - wr) + (At(r1, c0) * (1 - wc) + At(r1, c1) * wc) * wr;
            expected[0, i, j, c] = (v / 255 - mean[c]) / deviation[c];
        }
        // A few roundings in fp32 of values up to 255 / 255 / 0.225.
        Doubles.AssertClose($"{format} {h}x{w} to {toH}x{toW}", expected, y, 5e-7);
    }

    private static (int Low, int High, double Weight) Source(int i, int from, int to)
    {
        float position = MathF.Max((float)from / to * (i + 0.5f) - 0.5f, 0);
        int low = (int)position;
        return (low, Math.Min(low + 1, from - 1), position - low);
    }

    [Fact]
    public void AnImageShorterThanItsSizeIsRefused()
    {
        using Slice y = new(1, 4, 4, 3);
        Assert.Throws<ArgumentException>(
            () => Preprocess.Run(_pool, new ImageView(new byte[47], 4, 4, 12, PixelFormat.Rgb), y.Map, Normalization.ImageNet));
        Assert.Throws<ArgumentException>(
            () => Preprocess.Run(_pool, new ImageView(new byte[48], 4, 4, 11, PixelFormat.Rgb), y.Map, Normalization.ImageNet));
        Assert.Throws<ArgumentException>(
            () => Preprocess.Run(_pool, new ImageView(new byte[48], 0, 4, 12, PixelFormat.Rgb), y.Map, Normalization.ImageNet));
    }
}
