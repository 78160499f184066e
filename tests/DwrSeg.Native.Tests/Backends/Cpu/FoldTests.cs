using DwrSeg.Native.Backends.Cpu.Kernels;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cpu;

/// <summary>Folded weights give what the unfolded layers give, written out as plain loops over one small map.</summary>
public sealed unsafe class FoldTests : IDisposable
{
    private const float Epsilon = 1e-5f;
    private const int Inputs = 5, Outputs = 7;

    // Weights are rounded once to fp32; sums over 45 products on values of order 1.
    private const double Tolerance = 2e-6;

    private readonly Random _random = new(1);
    private readonly Vector _gamma, _beta, _mean, _variance;

    public FoldTests()
    {
        (_gamma, _beta) = (new Vector(Outputs).Randomise(_random), new Vector(Outputs).Randomise(_random));
        (_mean, _variance) = (new Vector(Outputs).Randomise(_random), new Vector(Outputs).Randomise(_random, 0.5f, 1));
    }

    public void Dispose()
    {
        _gamma.Dispose();
        _beta.Dispose();
        _mean.Dispose();
        _variance.Dispose();
    }

    private FoldBatchNorm.Norm Norm => new(_gamma.Data, _beta.Data, _mean.Data, _variance.Data, Epsilon);

    private double Normalise(int c, double v) => (v - _mean[c]) / Math.Sqrt((double)_variance[c] + Epsilon) * _gamma[c] + _beta[c];

    /// <summary>Zero-padded convolution at a pixel, weights [o][kernel][kernel][i]; input values pass through the function first.</summary>
    private static double Convolve(Doubles x, Vector weights, int kernel, int y, int column, int o, Func<int, double, double> map)
    {
        double sum = 0;
        int reach = kernel / 2;
        for (int ky = 0; ky < kernel; ky++)
        for (int kx = 0; kx < kernel; kx++)
        {
            int r = y + ky - reach, k = column + kx - reach;
            if (r < 0 || r >= x.H || k < 0 || k >= x.W) continue;
            for (int i = 0; i < x.C; i++) sum += weights[((o * kernel + ky) * kernel + kx) * x.C + i] * map(i, x[0, r, k, i]);
        }
        return sum;
    }

    private Doubles Map(int h, int w, int c)
    {
        using Slice x = new Slice(1, h, w, c).Randomise(_random);
        return x.ToDoubles();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void BatchNormAfterADenseConvolutionFolds(bool biased)
    {
        Doubles x = Map(4, 5, Inputs);
        using Vector w = new Vector(Outputs * 9 * Inputs).Randomise(_random), b = new Vector(Outputs).Randomise(_random);
        using Vector folded = new(Outputs * 9 * Inputs), bias = new(Outputs);
        FoldBatchNorm.Dense(w.Data, biased ? b.Data : null, Norm, Outputs, 9 * Inputs, folded.Data, bias.Data);
        for (int p = 0; p < 20; p++)
        for (int o = 0; o < Outputs; o++)
        {
            double expected = Normalise(o, Convolve(x, w, 3, p / 5, p % 5, o, (_, v) => v) + (biased ? b[o] : 0));
            Assert.Equal(expected, Convolve(x, folded, 3, p / 5, p % 5, o, (_, v) => v) + bias[o], Tolerance);
        }
    }

    [Fact]
    public void BatchNormAfterADepthwiseConvolutionFolds()
    {
        using Vector w = new Vector(9 * Outputs).Randomise(_random), b = new Vector(Outputs).Randomise(_random);
        using Vector folded = new(9 * Outputs), bias = new(Outputs), x = new Vector(9 * Outputs).Randomise(_random);
        FoldBatchNorm.Depthwise(w.Data, b.Data, Norm, 9, Outputs, folded.Data, bias.Data);
        for (int c = 0; c < Outputs; c++)
        {
            double plain = b[c], actual = bias[c];
            for (int tap = 0; tap < 9; tap++)
            {
                plain += (double)w[tap * Outputs + c] * x[tap * Outputs + c];
                actual += (double)folded[tap * Outputs + c] * x[tap * Outputs + c];
            }
            Assert.Equal(Normalise(c, plain), actual, Tolerance);
        }
    }

    [Theory]
    [InlineData(4, 5)]
    [InlineData(1, 3)]
    [InlineData(3, 1)]
    [InlineData(1, 1)]
    public void BatchNormBeforeAPaddedConvolutionFolds_AtEveryBorder(int h, int w)
    {
        // Here the norm's channels are the convolution's inputs.
        Doubles x = Map(h, w, Outputs);
        using Vector weights = new Vector(3 * 9 * Outputs).Randomise(_random), b = new Vector(3).Randomise(_random);
        using Vector folded = new(3 * 9 * Outputs), table = new(16 * 3);
        FoldBatchNorm.Input(weights.Data, b.Data, Norm, 3, 3, Outputs, folded.Data, table.Data);
        for (int y = 0; y < h; y++)
        for (int column = 0; column < w; column++)
        for (int o = 0; o < 3; o++)
        {
            int vertical = (y == 0 ? 1 : 0) + (y == h - 1 ? 2 : 0), horizontal = (column == 0 ? 1 : 0) + (column == w - 1 ? 2 : 0);
            double expected = Convolve(x, weights, 3, y, column, o, Normalise) + b[o];
            double actual = Convolve(x, folded, 3, y, column, o, (_, v) => v) + table[(vertical * 4 + horizontal) * 3 + o];
            Assert.Equal(expected, actual, 2 * Tolerance);
        }
    }

    [Fact]
    public void BatchNormBeforeAPointwiseConvolutionFoldsIntoOneBias()
    {
        Doubles x = Map(2, 2, Outputs);
        using Vector weights = new Vector(3 * Outputs).Randomise(_random), folded = new(3 * Outputs), bias = new(3);
        FoldBatchNorm.Input(weights.Data, null, Norm, 3, 1, Outputs, folded.Data, bias.Data);
        for (int o = 0; o < 3; o++)
            Assert.Equal(Convolve(x, weights, 1, 1, 0, o, Normalise), Convolve(x, folded, 1, 1, 0, o, (_, v) => v) + bias[o], Tolerance);
    }

    [Fact]
    public void APointwiseConvolutionFoldsIntoTheOneBefore()
    {
        const int middle = 6;
        Doubles x = Map(4, 5, Inputs);
        using Vector a = new Vector(middle * 9 * Inputs).Randomise(_random), biasA = new Vector(middle).Randomise(_random);
        using Vector b = new Vector(Outputs * middle).Randomise(_random), biasB = new Vector(Outputs).Randomise(_random);
        using Vector folded = new(Outputs * 9 * Inputs), bias = new(Outputs);
        FoldPointwise.Run(a.Data, biasA.Data, b.Data, biasB.Data, Outputs, middle, 9 * Inputs, folded.Data, bias.Data);
        for (int p = 0; p < 20; p++)
        for (int o = 0; o < Outputs; o++)
        {
            double expected = biasB[o];
            for (int m = 0; m < middle; m++)
                expected += b[o * middle + m] * (Convolve(x, a, 3, p / 5, p % 5, m, (_, v) => v) + biasA[m]);
            Assert.Equal(expected, Convolve(x, folded, 3, p / 5, p % 5, o, (_, v) => v) + bias[o], 5 * Tolerance);
        }
    }
}
