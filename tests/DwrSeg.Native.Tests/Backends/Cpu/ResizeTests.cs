using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Backends.Cpu.Kernels;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cpu;

public sealed unsafe class ResizeTests : IDisposable
{
    private const int Workers = 3;

    private readonly WorkerPool _pool = new(Workers);

    public void Dispose() => _pool.Dispose();

    private static IEnumerable<(int N, int H, int W, int ToH, int ToW, int C)> Shapes()
    {
        Random random = new(5);
        yield return (1, 1, 1, 1, 1, 1);
        yield return (1, 1, 1, 7, 9, 11);
        yield return (2, 5, 6, 40, 48, 11);
        yield return (1, 4, 8, 32, 64, 19);
        yield return (2, 6, 5, 12, 10, 128);
        yield return (1, 23, 30, 45, 60, 32);
        yield return (1, 40, 30, 5, 7, 19);
        yield return (1, 3, 3, 3, 3, 3);
        for (int i = 0; i < 40; i++)
        {
            int h = random.Next(1, 12), w = random.Next(1, 12);
            yield return (random.Next(1, 3), h, w, random.Next(1, 30), random.Next(1, 30), random.Next(1, 70));
        }
    }

    private static (int Low, int High, double Weight) Source(int i, int from, int to)
    {
        float position = MathF.Max((float)from / to * (i + 0.5f) - 0.5f, 0);
        int low = (int)position;
        return (low, Math.Min(low + 1, from - 1), position - low);
    }

    private static void ForEachTerm(Doubles small, Doubles large, Action<int, int, int, int, int, double> visit)
    {
        for (int y = 0; y < large.H; y++)
        for (int x = 0; x < large.W; x++)
        {
            (int r0, int r1, double wr) = Source(y, small.H, large.H);
            (int c0, int c1, double wc) = Source(x, small.W, large.W);
            for (int n = 0; n < large.N; n++)
            {
                visit(n, y, x, r0, c0, (1 - wr) * (1 - wc));
                visit(n, y, x, r0, c1, (1 - wr) * wc);
                visit(n, y, x, r1, c0, wr * (1 - wc));
                visit(n, y, x, r1, c1, wr * wc);
            }
        }
    }

    [Fact]
    public void ForwardMatchesPlainLoops()
    {
        Random random = new(1);
        foreach ((int n, int h, int w, int toH, int toW, int c) in Shapes())
        {
            using Slice x = Slice.Random(random, n, h, w, c).Randomise(random), y = Slice.Random(random, n, toH, toW, c);
            using Vector scale = new Vector(c).Randomise(random), shift = new Vector(c).Randomise(random);
            bool affine = random.Next(3) == 0;
            Doubles from = x.ToDoubles(), expected = new(n, toH, toW, c);
            ForEachTerm(from, expected, (i, r, k, xr, xk, weight) =>
            {
                for (int m = 0; m < c; m++)
                {
                    double value = from[i, xr, xk, m];
                    expected[i, r, k, m] += weight * (affine ? value * scale[m] + shift[m] : value);
                }
            });
            using Resize kernel = new(h, w, toH, toW, c, Workers);
            kernel.Run(_pool, x.Map, y.Map, affine ? scale.Data : null, affine ? shift.Data : null);
            // Four roundings in fp32.
            Doubles.AssertClose($"{n}x{h}x{w}x{c} to {toH}x{toW}", expected, y, 5e-7);
        }
    }

    [Fact]
    public void GradientIsTheTranspose()
    {
        Random random = new(2);
        foreach ((int n, int h, int w, int toH, int toW, int c) in Shapes())
        foreach (bool accumulate in new[] { false, true })
        {
            using Slice dy = Slice.Random(random, n, toH, toW, c).Randomise(random), dx = Slice.Random(random, n, h, w, c);
            if (accumulate) dx.Randomise(random);
            Doubles from = dy.ToDoubles(), expected = accumulate ? dx.ToDoubles() : new(n, h, w, c);
            ForEachTerm(expected, from, (i, r, k, xr, xk, weight) =>
            {
                for (int m = 0; m < c; m++) expected[i, xr, xk, m] += weight * from[i, r, k, m];
            });
            using Resize kernel = new(h, w, toH, toW, c, Workers);
            kernel.Gradient(_pool, dy.Map, dx.Map, accumulate);
            // Sums of up to 256 products in fp32 (900 where one pixel feeds all).
            Doubles.AssertClose($"{n}x{h}x{w}x{c} from {toH}x{toW}", expected, dx, 3e-6);
        }
    }

    [Fact]
    public void TheSameSizeIsACopy()
    {
        using Slice x = new Slice(1, 7, 9, 19).Randomise(new Random(1)), y = new(1, 7, 9, 19);
        using Resize kernel = new(7, 9, 7, 9, 19, Workers);
        kernel.Run(_pool, x.Map, y.Map);
        Assert.Equal(x.ToArray(), y.ToArray());
    }

    [Fact]
    public void GradientDoesNotDependOnTheNumberOfWorkers()
    {
        float[]? first = null;
        foreach (int workers in new[] { 1, 2, 5, 5 })
        {
            using WorkerPool pool = new(workers);
            using Slice dy = new Slice(2, 180, 240, 11).Randomise(new Random(1)), dx = new(2, 23, 30, 11);
            using Resize kernel = new(23, 30, 180, 240, 11, workers);
            kernel.Gradient(pool, dy.Map, dx.Map, accumulate: false);
            float[] all = dx.ToArray();
            first ??= all;
            Assert.True(first.AsSpan().SequenceEqual(all), $"{workers} workers give other bits");
        }
    }
}
