using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Backends.Cpu.Kernels;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cpu;

public sealed unsafe class ArgMaxHeadTests : IDisposable
{
    private const int Workers = 3;

    private readonly WorkerPool _pool = new(Workers);

    public void Dispose() => _pool.Dispose();

    public static IEnumerable<TheoryDataRow<int, int, int, int, int>> Shapes()
    {
        yield return (1, 1, 1, 1, 1);
        yield return (1, 1, 11, 7, 5);
        yield return (8, 16, 19, 64, 128);
        yield return (45, 60, 11, 360, 480);
        yield return (23, 30, 11, 97, 131);
        yield return (7, 40, 3, 50, 41);
        yield return (40, 50, 19, 9, 13);
        yield return (12, 9, 255, 20, 33);
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void IsTheArgMaxOfTheUpsampledLogits(int h, int w, int classes, int height, int width)
    {
        Random random = new(h + w);
        using Slice logits = Slice.Random(random, 1, h, w, classes).Randomise(random, 3), large = new(1, height, width, classes);
        using Resize resize = new(h, w, height, width, classes, Workers);
        resize.Run(_pool, logits.Map, large.Map);
        int stride = width + 5;
        byte[] map = new byte[height * stride], confidence = new byte[height * stride];
        Array.Fill(map, (byte)254);
        Array.Fill(confidence, (byte)77);
        fixed (byte* m = map, p = confidence) ArgMaxHead.Run(_pool, logits.Map, height, width, m, stride, p, stride);
        for (int y = 0; y < height; y++)
        for (int x = 0; x < stride; x++)
        {
            if (x >= width)
            {
                Assert.Equal((254, 77), (map[y * stride + x], confidence[y * stride + x]));
                continue;
            }
            // Both interpolate by the same formula, so the winner is the same to the last bit.
            int best = 0;
            double sum = 0;
            for (int c = 1; c < classes; c++) best = large[0, y, x, c] > large[0, y, x, best] ? c : best;
            for (int c = 0; c < classes; c++) sum += Math.Exp((double)large[0, y, x, c] - large[0, y, x, best]);
            Assert.Equal(best, map[y * stride + x]);
            // Rounded to whole numbers; fp32 may fall on the other side of a half.
            Assert.InRange(confidence[y * stride + x], 255 / sum - 0.501, 255 / sum + 0.501);
        }
    }

    [Fact]
    public void TheLowestClassWinsATie()
    {
        using Slice logits = new(1, 4, 5, 19);
        for (int p = 0; p < 20; p++)
        for (int c = 0; c < 19; c++)
            logits[0, p / 5, p % 5, c] = c is 4 or 9 or 18 ? 2 : 1;
        byte[] map = new byte[32 * 40];
        ArgMaxHead.Run(_pool, logits.Map, 32, 40, map, default);
        Assert.All(map, v => Assert.Equal(4, v));
    }

    [Fact]
    public void ASpanThatIsTooShortIsRefused()
    {
        using Slice logits = new Slice(1, 4, 5, 3).Randomise(new Random(1));
        Assert.Throws<ArgumentException>(() => ArgMaxHead.Run(_pool, logits.Map, 8, 10, new byte[79], default));
        Assert.Throws<ArgumentException>(() => ArgMaxHead.Run(_pool, logits.Map, 8, 10, new byte[80], new byte[79]));
    }
}
