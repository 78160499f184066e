using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Backends.Cpu.Kernels;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cpu;

/// <summary>
/// A 3x3 convolution with a 1x1 convolution at its tail against the two one after the other. The tail adds the same products in the same
/// order, so with a residual or without every bit is the same; where the last panel is not full, bias and residual are added in another
/// order, and a few roundings of 6e-8 remain.
/// </summary>
public sealed unsafe class PointwiseTailTests
{
    [Theory]
    [InlineData(1, 64, 192, 64, 1, 64, 128)]
    [InlineData(2, 64, 192, 64, 1, 33, 67)]
    [InlineData(1, 32, 64, 64, 2, 9, 13)]
    [InlineData(1, 48, 112, 48, 1, 1, 300)]
    [InlineData(1, 64, 80, 32, 1, 300, 1)]
    [InlineData(2, 16, 48, 128, 1, 1, 1)]
    [InlineData(1, 64, 96, 16, 3, 5, 4)]
    public void FullPanelsMatchTwoConvolutionsBitForBit(int stride, int inC, int middleC, int outC, int n, int h, int w)
    {
        var random = new Random(21);
        foreach (bool residual in (bool[])[false, true])
        foreach (bool borderBias in (bool[])[false, true])
        {
            (float[] expected, float[] actual) = Run(random, stride, inC, middleC, outC, n, h, w, residual, borderBias && stride == 1);
            Assert.Equal(expected, actual);
        }
    }

    [Theory]
    [InlineData(1, 320, 128, 19, 1, 16, 33)]
    [InlineData(1, 64, 128, 11, 2, 7, 5)]
    [InlineData(2, 3, 5, 7, 1, 21, 30)]
    [InlineData(1, 7, 33, 65, 1, 11, 40)]
    [InlineData(1, 64, 64, 33, 1, 3, 2)]
    public void PartialPanelsMatchTwoConvolutions(int stride, int inC, int middleC, int outC, int n, int h, int w)
    {
        var random = new Random(22);
        foreach (bool residual in (bool[])[false, true])
        {
            (float[] expected, float[] actual) = Run(random, stride, inC, middleC, outC, n, h, w, residual, borderBias: false);
            double scale = expected.Max(Math.Abs);
            for (int i = 0; i < expected.Length; i++) Assert.InRange(actual[i], expected[i] - 1e-6 * scale, expected[i] + 1e-6 * scale);
        }
    }

    [Fact]
    public void TheResultDoesNotDependOnTheNumberOfThreads()
    {
        // Blocks shrink as threads grow; each pixel's sum stays the same.
        float[] one = Run(new Random(23), 1, 64, 192, 64, 1, 30, 41, true, false, workers: 1).Actual;
        float[] four = Run(new Random(23), 1, 64, 192, 64, 1, 30, 41, true, false, workers: 4).Actual;
        Assert.Equal(one, four);
    }

    private static (float[] Expected, float[] Actual) Run(
        Random random, int stride, int inC, int middleC, int outC, int n, int h, int w, bool residual, bool borderBias, int workers = 2)
    {
        using WorkerPool pool = new(workers);
        using Workspace workspace = new(workers);
        int outH = (h + stride - 1) / stride, outW = (w + stride - 1) / stride;
        using Slice x = Slice.Random(random, n, h, w, inC).Randomise(random), middle = new(n, outH, outW, middleC);
        using Slice extra = Slice.Random(random, n, outH, outW, outC).Randomise(random);
        using Slice expected = Slice.Random(random, n, outH, outW, outC), actual = Slice.Random(random, n, outH, outW, outC);
        using Vector headWeights = new Vector(middleC * 9 * inC).Randomise(random), tailWeights = new Vector(outC * middleC).Randomise(random);
        using Vector headBias = new Vector((borderBias ? 16 : 1) * middleC).Randomise(random), tailBias = new Vector(outC).Randomise(random);
        var headEpilogue = new Epilogue { Bias = headBias.Data, BorderBias = borderBias, Relu = true };

        using Convolution head = new(3, stride, inC, middleC, workspace), last = new(1, 1, middleC, outC, workspace);
        head.Pack(pool, headWeights.Data);
        last.Pack(pool, tailWeights.Data);
        head.Run(pool, x.Map, middle.Map, headEpilogue);
        last.Run(pool, middle.Map, expected.Map, new Epilogue { Bias = tailBias.Data, Residual = residual ? extra.Map : default });

        PointwiseTail tail = new(middleC, outC);
        using Convolution fused = new(3, stride, inC, middleC, workspace, tail);
        fused.Pack(pool, headWeights.Data);
        tail.Pack(pool, tailWeights.Data);
        Map shape = new(null, n, outH, outW, middleC, middleC);
        fused.Run(pool, x.Map, shape, headEpilogue, tail.Bind(actual.Map, residual ? extra.Map : default, tailBias.Data));
        actual.AssertNeighboursUntouched("y");
        return (expected.ToArray(), actual.ToArray());
    }
}
