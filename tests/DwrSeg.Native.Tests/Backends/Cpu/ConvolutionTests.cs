using System.Runtime.InteropServices;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Backends.Cpu.Kernels;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cpu;

/// <summary>
/// Convolution kernels against plain double-precision loops. Every map is a channel slice of a wider tensor full of NaN, which must
/// neither be read nor touched. Tolerance: a sum of n products in single precision errs by about √n · 6e-8 of the sum of their
/// magnitudes; n stays below 3000, so 4e-6 of that sum (plus as much of what is added to it) leaves no room for a wrong term.
/// </summary>
public sealed unsafe class ConvolutionTests
{
    private const double Tolerance = 4e-6;

    private static readonly int[] s_channels = [1, 2, 3, 5, 11, 16, 19, 31, 32, 33, 48, 64, 65, 96, 112, 130];

    [Fact]
    public void ForwardMatchesDoubleLoop_OnRandomShapesSlicesAndEpilogues()
    {
        using WorkerPool pool = new(3);
        Random random = new(1);
        for (int i = 0; i < 90; i++)
        {
            Shape s = Shape.Draw(random, s_channels);
            Forward(pool, random, s, new EpilogueChoice(random));
        }
    }

    [Theory]
    [InlineData(3, 2, 3, 32, 1, 17, 64)]
    [InlineData(3, 1, 320, 128, 1, 9, 13)]
    [InlineData(1, 1, 128, 19, 2, 8, 16)]
    [InlineData(3, 1, 64, 192, 1, 16, 32)]
    [InlineData(1, 2, 256, 128, 1, 15, 7)]
    [InlineData(3, 1, 7, 192, 1, 1, 1)]
    [InlineData(3, 2, 33, 64, 1, 1, 300)]
    [InlineData(3, 1, 5, 20, 1, 300, 1)]
    public void AllGradientsMatch_AtShapesOfTheNetworkAndDegenerateOnes(int kernel, int stride, int inC, int outC, int n, int h, int w)
    {
        using WorkerPool pool = new(2);
        Random random = new(2);
        Shape s = new(kernel, stride, inC, outC, n, h, w);
        Forward(pool, random, s, new EpilogueChoice(random));
        DataGradient(pool, random, s, accumulate: false);
        WeightGradient(pool, random, s, accumulate: false);
    }

    [Fact]
    public void BorderBiasPicksItsRowByPosition()
    {
        using WorkerPool pool = new(2);
        Random random = new(3);
        for (int i = 0; i < 30; i++)
        {
            Shape s = Shape.Draw(random, s_channels) with { Kernel = 3, Stride = 1 };
            Forward(pool, random, s, new EpilogueChoice(random) { Bias = true, BorderBias = true });
        }
    }

    [Fact]
    public void DataGradientMatchesDoubleLoop_OnRandomShapesAndSlices()
    {
        using WorkerPool pool = new(3);
        Random random = new(4);
        for (int i = 0; i < 60; i++) DataGradient(pool, random, Shape.Draw(random, s_channels), random.Next(2) == 0);
    }

    [Fact]
    public void WeightGradientMatchesDoubleLoop_OnRandomShapesAndSlices()
    {
        using WorkerPool pool = new(3);
        Random random = new(5);
        for (int i = 0; i < 60; i++) WeightGradient(pool, random, Shape.Draw(random, s_channels), random.Next(2) == 0);
    }

    [Fact]
    public void WeightGradientMatchesDoubleLoop_OverManyChunksOfPixels()
    {
        using WorkerPool pool = new(2);
        Random random = new(6);
        WeightGradient(pool, random, new Shape(3, 2, 3, 32, 2, 75, 250), accumulate: false);
        WeightGradient(pool, random, new Shape(1, 1, 17, 20, 2, 90, 110), accumulate: true);
        WeightGradient(pool, random, new Shape(3, 1, 8, 9, 1, 70, 140), accumulate: true);
    }

    [Theory]
    [InlineData(64, 48)]
    [InlineData(320, 32)]
    public void WinogradLosesLittlePrecision_AtTheNetworksDepths(int inC, int outC)
    {
        using WorkerPool pool = new(2);
        Random random = new(12);
        using Workspace workspace = new(pool.Workers);
        using Tensor x = new(random, 1, 17, 22, inC), y = new(random, 1, 17, 22, outC), exact = new(random, 1, 17, 22, outC);
        using Floats w = new(outC * 9 * inC);
        w.Fill(random);
        using Convolution winograd = new(3, 1, inC, outC, workspace), direct = new(3, 1, inC, outC, workspace, allowWinograd: false);
        winograd.Pack(pool, w.Data);
        direct.Pack(pool, w.Data);
        winograd.Run(pool, x.Map, y.Map, default);
        direct.Run(pool, x.Map, exact.Map, default);
        double error = 0, norm = 0;
        foreach ((float a, float b) in y.Values().Zip(exact.Values()))
        {
            error += Math.Pow((double)a - b, 2);
            norm += Math.Pow(b, 2);
        }
        // Both err: the direct product by 1e-6 at 320 channels, Winograd by twice that. Where Winograd is not used both are the same.
        Assert.InRange(Math.Sqrt(error / norm), WinogradConvolution.Suits(inC, outC) ? 1e-9 : 0, 4e-6);
    }

    [Fact]
    public void BiasGradientMatchesDoubleLoop()
    {
        using WorkerPool pool = new(3);
        Random random = new(7);
        for (int i = 0; i < 30; i++)
        {
            int channels = s_channels[random.Next(s_channels.Length)];
            using Workspace workspace = new(pool.Workers);
            BiasGradient gradient = new(channels, workspace);
            using Tensor dy = new(random, 1 + random.Next(3), 1 + random.Next(20), 1 + random.Next(60), channels);
            using Floats db = new(channels);
            db.Fill(random);
            bool accumulate = random.Next(2) == 0;
            double[] expected = new double[channels], magnitude = new double[channels];
            for (int c = 0; c < channels; c++)
            {
                if (accumulate) expected[c] = db[c];
                magnitude[c] = Math.Abs(expected[c]);
            }
            for (int p = 0; p < dy.Map.Pixels; p++)
            {
                for (int c = 0; c < channels; c++)
                {
                    expected[c] += dy[p, c];
                    magnitude[c] += Math.Abs(dy[p, c]);
                }
            }
            if (!accumulate) db.Fill(float.NaN);
            gradient.Run(pool, dy.Map, db.Data, accumulate);
            for (int c = 0; c < channels; c++) Close(expected[c], magnitude[c], db[c], $"channel {c} of {channels}");
        }
    }

    [Fact]
    public void BiasGradientOfManyPixelsStaysExact()
    {
        using WorkerPool pool = new(2);
        using Workspace workspace = new(pool.Workers);
        BiasGradient gradient = new(1, workspace);
        using Tensor dy = new(new Random(8), 1, 1000, 1000, 1);
        for (int p = 0; p < 1_000_000; p++) dy[p, 0] = 0.1f;
        using Floats db = new(1);
        gradient.Run(pool, dy.Map, db.Data, accumulate: false);
        // One long single-precision sum would give 100958; runs of 64 err by at most 64 roundings, 4e-6.
        Assert.Equal(0.1f * 1e6, db[0], 0.1f * 1e6 * 4e-6);
    }

    [Fact]
    public void RepeatedRunsAreBitIdentical_WhateverWorkerTakesATask()
    {
        using WorkerPool pool = new(4);
        Random random = new(9);
        Shape s = new(3, 1, 48, 65, 1, 33, 70);
        using Workspace workspace = new(pool.Workers);
        using Tensor x = new(random, s.N, s.H, s.W, s.In), y = new(random, s.N, s.H, s.W, s.Out);
        using Floats w = new(s.Weights), dw = new(s.Weights);
        w.Fill(random);
        using Convolution convolution = new(s.Kernel, s.Stride, s.In, s.Out, workspace);
        convolution.Pack(pool, w.Data);
        ConvolutionWeightGradient gradient = new(s.Kernel, s.Stride, s.In, s.Out, workspace);
        float[]? firstY = null, firstDw = null;
        for (int run = 0; run < 20; run++)
        {
            convolution.Run(pool, x.Map, y.Map, new Epilogue { Relu = true });
            gradient.Run(pool, x.Map, y.Map, dw.Data, accumulate: false);
            float[] nowY = y.Values(), nowDw = dw.Span.ToArray();
            Assert.Equal(firstY ??= nowY, nowY);
            Assert.Equal(firstDw ??= nowDw, nowDw);
        }
    }

    [Fact]
    public void RunningAllocatesNothing()
    {
        using WorkerPool pool = new(2);
        Random random = new(10);
        Shape s = new(3, 2, 20, 24, 1, 31, 40);
        using Workspace workspace = new(pool.Workers);
        using Tensor x = new(random, s.N, s.H, s.W, s.In), y = new(random, s.N, s.OutH, s.OutW, s.Out);
        using Floats w = new(s.Weights), dw = new(s.Weights);
        w.Fill(random);
        using Convolution convolution = new(s.Kernel, s.Stride, s.In, s.Out, workspace);
        using ConvolutionDataGradient dataGradient = new(s.Kernel, s.Stride, s.In, s.Out, workspace);
        ConvolutionWeightGradient weightGradient = new(s.Kernel, s.Stride, s.In, s.Out, workspace);
        long before = 0;
        for (int run = 0; run < 120; run++)
        {
            // The first runs warm the runtime's own lazily made structures.
            if (run == 20) before = GC.GetAllocatedBytesForCurrentThread();
            convolution.Pack(pool, w.Data);
            dataGradient.Pack(pool, w.Data);
            convolution.Run(pool, x.Map, y.Map, new Epilogue { Relu = true });
            weightGradient.Run(pool, x.Map, y.Map, dw.Data, accumulate: false);
            dataGradient.Run(pool, y.Map, x.Map, accumulate: false);
        }
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    [Fact]
    public void ReluKeepsNaN()
    {
        using WorkerPool pool = new(1);
        using Workspace workspace = new(1);
        using Convolution convolution = new(1, 1, 1, 17, workspace);
        using Tensor x = new(new Random(11), 1, 1, 1, 1), y = new(new Random(11), 1, 1, 1, 17);
        using Floats w = new(17);
        w.Fill(1);
        x[0, 0] = float.NaN;
        convolution.Pack(pool, w.Data);
        convolution.Run(pool, x.Map, y.Map, new Epilogue { Relu = true });
        for (int c = 0; c < 17; c++) Assert.True(float.IsNaN(y[0, c]));
    }

    [Fact]
    public void WrongMapsAreNamed()
    {
        using WorkerPool pool = new(1);
        using Workspace workspace = new(1);
        using Convolution convolution = new(3, 2, 4, 8, workspace);
        ArgumentException e = Assert.Throws<ArgumentException>(
            () => convolution.Run(pool, new Map(null, 1, 5, 5, 4, 4), new Map(null, 1, 2, 3, 8, 8), default));
        Assert.Contains("1x5x5x4", e.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => new Convolution(5, 1, 4, 8, workspace));
    }

    private static void Forward(WorkerPool pool, Random random, Shape s, EpilogueChoice choice)
    {
        using Workspace workspace = new(pool.Workers);
        using Convolution convolution = new(s.Kernel, s.Stride, s.In, s.Out, workspace);
        using Tensor x = new(random, s.N, s.H, s.W, s.In), y = new(random, s.N, s.OutH, s.OutW, s.Out);
        using Tensor residual = new(random, s.N, s.OutH, s.OutW, s.Out);
        using Floats w = new(s.Weights), bias = new(16 * s.Out);
        w.Fill(random);
        bias.Fill(random);
        double[] expected = new double[y.Map.Pixels * s.Out], magnitude = new double[expected.Length];
        ForEachProduct(s, (xi, yi, wi, c, o) =>
        {
            double product = (double)x[xi, c] * w[wi];
            expected[(long)yi * s.Out + o] += product;
            magnitude[(long)yi * s.Out + o] += Math.Abs(product);
        });
        for (int p = 0; p < y.Map.Pixels; p++)
        {
            int i = p / s.OutW % s.OutH, j = p % s.OutW;
            int row = ((i == 0 ? 1 : 0) + (i == s.OutH - 1 ? 2 : 0)) * 4 + (j == 0 ? 1 : 0) + (j == s.OutW - 1 ? 2 : 0);
            for (int o = 0; o < s.Out; o++)
            {
                double v = expected[(long)p * s.Out + o], b = bias[(choice.BorderBias ? row * s.Out : 0) + o], r = residual[p, o];
                magnitude[(long)p * s.Out + o] += Math.Abs(b) + Math.Abs(r) + Math.Abs(y[p, o]);
                if (choice.Bias) v += b;
                if (choice.Residual && !choice.ResidualAfterRelu) v += r;
                if (choice.Relu) v = Math.Max(v, 0);
                if (choice.Residual && choice.ResidualAfterRelu) v += r;
                if (choice.Accumulate) v += y[p, o];
                else y[p, o] = float.NaN;
                expected[(long)p * s.Out + o] = v;
            }
        }
        convolution.Pack(pool, w.Data);
        convolution.Run(pool, x.Map, y.Map, new Epilogue
        {
            Bias = choice.Bias ? bias.Data : null,
            BorderBias = choice.BorderBias,
            Relu = choice.Relu,
            Residual = choice.Residual ? residual.Map : default,
            ResidualAfterRelu = choice.ResidualAfterRelu,
            Accumulate = choice.Accumulate,
        });
        Compare(expected, magnitude, y, $"{s} {choice}");
    }

    private static void DataGradient(WorkerPool pool, Random random, Shape s, bool accumulate)
    {
        using Workspace workspace = new(pool.Workers);
        using ConvolutionDataGradient gradient = new(s.Kernel, s.Stride, s.In, s.Out, workspace);
        using Tensor dx = new(random, s.N, s.H, s.W, s.In), dy = new(random, s.N, s.OutH, s.OutW, s.Out);
        using Floats w = new(s.Weights);
        w.Fill(random);
        double[] expected = new double[dx.Map.Pixels * s.In], magnitude = new double[expected.Length];
        for (int p = 0; p < dx.Map.Pixels; p++)
        {
            for (int c = 0; c < s.In; c++)
            {
                if (accumulate) expected[(long)p * s.In + c] = dx[p, c];
                else dx[p, c] = float.NaN;
                magnitude[(long)p * s.In + c] = Math.Abs(expected[(long)p * s.In + c]);
            }
        }
        ForEachProduct(s, (xi, yi, wi, c, o) =>
        {
            double product = (double)dy[yi, o] * w[wi];
            expected[(long)xi * s.In + c] += product;
            magnitude[(long)xi * s.In + c] += Math.Abs(product);
        });
        gradient.Pack(pool, w.Data);
        gradient.Run(pool, dy.Map, dx.Map, accumulate);
        Compare(expected, magnitude, dx, $"{s} accumulate {accumulate}");
    }

    private static void WeightGradient(WorkerPool pool, Random random, Shape s, bool accumulate)
    {
        using Workspace workspace = new(pool.Workers);
        ConvolutionWeightGradient gradient = new(s.Kernel, s.Stride, s.In, s.Out, workspace);
        using Tensor x = new(random, s.N, s.H, s.W, s.In), dy = new(random, s.N, s.OutH, s.OutW, s.Out);
        using Floats dw = new(s.Weights);
        dw.Fill(random);
        double[] expected = new double[s.Weights], magnitude = new double[s.Weights];
        for (int i = 0; i < s.Weights; i++)
        {
            if (accumulate) expected[i] = dw[i];
            magnitude[i] = Math.Abs(expected[i]);
        }
        if (!accumulate) dw.Fill(float.NaN);
        ForEachProduct(s, (xi, yi, wi, c, o) =>
        {
            double product = (double)dy[yi, o] * x[xi, c];
            expected[wi] += product;
            magnitude[wi] += Math.Abs(product);
        });
        gradient.Run(pool, x.Map, dy.Map, dw.Data, accumulate);
        for (int i = 0; i < s.Weights; i++) Close(expected[i], magnitude[i], dw[i], $"{s} accumulate {accumulate}, weight {i}");
    }

    /// <summary>Visits every product of the convolution: input pixel, output pixel, weight, input and output channel.</summary>
    private static void ForEachProduct(Shape s, Action<int, int, int, int, int> visit)
    {
        for (int n = 0; n < s.N; n++)
        for (int i = 0; i < s.OutH; i++)
        for (int j = 0; j < s.OutW; j++)
        for (int ky = 0; ky < s.Kernel; ky++)
        for (int kx = 0; kx < s.Kernel; kx++)
        {
            int y = i * s.Stride + ky - s.Kernel / 2, x = j * s.Stride + kx - s.Kernel / 2;
            if (y < 0 || y >= s.H || x < 0 || x >= s.W) continue;
            for (int o = 0; o < s.Out; o++)
            {
                int weight = ((o * s.Kernel + ky) * s.Kernel + kx) * s.In;
                for (int c = 0; c < s.In; c++) visit((n * s.H + y) * s.W + x, (n * s.OutH + i) * s.OutW + j, weight + c, c, o);
            }
        }
    }

    private static void Compare(double[] expected, double[] magnitude, Tensor actual, string what)
    {
        int channels = actual.Map.C;
        for (int i = 0; i < expected.Length; i++)
            Close(expected[i], magnitude[i], actual[i / channels, i % channels], what, i / channels, i % channels);
        Assert.True(actual.SurroundingsUntouched(), $"{what}: wrote outside its channel slice");
    }

    private static void Close(double expected, double magnitude, float actual, string what, int pixel = 0, int channel = 0)
    {
        if (!(Math.Abs(expected - actual) <= Tolerance * (magnitude + 1e-3)))
            Assert.Fail($"{what}: expected {expected}, got {actual} at pixel {pixel}, channel {channel}");
    }

    internal readonly record struct Shape(int Kernel, int Stride, int In, int Out, int N, int H, int W)
    {
        public int OutH => (H + Stride - 1) / Stride;

        public int OutW => (W + Stride - 1) / Stride;

        public int Weights => Out * Kernel * Kernel * In;

        /// <summary>A random shape of at most about a million products.</summary>
        public static Shape Draw(Random random, int[] channels)
        {
            while (true)
            {
                Shape s = new(random.Next(2) * 2 + 1, 1 + random.Next(2), channels[random.Next(channels.Length)],
                    channels[random.Next(channels.Length)], 1 + random.Next(3), 1 + random.Next(20), 1 + random.Next(40));
                if ((long)s.Weights * s.N * s.OutH * s.OutW < 1_500_000) return s;
            }
        }
    }

    private sealed record EpilogueChoice
    {
        public EpilogueChoice(Random random)
        {
            Bias = random.Next(2) == 0;
            Relu = random.Next(2) == 0;
            Residual = random.Next(2) == 0;
            ResidualAfterRelu = random.Next(2) == 0;
            Accumulate = random.Next(3) == 0;
        }

        public bool Bias { get; init; }

        public bool BorderBias { get; init; }

        public bool Relu { get; init; }

        public bool Residual { get; init; }

        public bool ResidualAfterRelu { get; init; }

        public bool Accumulate { get; init; }
    }

    private sealed class Floats : IDisposable
    {
        public readonly float* Data;
        private readonly int _count;

        public Floats(int count)
        {
            _count = count;
            Data = (float*)NativeMemory.Alloc((nuint)count * sizeof(float));
        }

        public Span<float> Span => new(Data, _count);

        public float this[int i] => Span[i];

        public void Fill(float value) => Span.Fill(value);

        public void Fill(Random random)
        {
            foreach (ref float v in Span) v = (float)(2 * random.NextDouble() - 1);
        }

        public void Dispose() => NativeMemory.Free(Data);
    }

    /// <summary>A random map inside a wider tensor of NaN.</summary>
    private sealed class Tensor : IDisposable
    {
        private readonly Floats _floats;
        private readonly int _first;

        public Tensor(Random random, int n, int h, int w, int c)
        {
            _first = random.Next(3) * random.Next(9);
            int pitch = c + _first + random.Next(3) * random.Next(9);
            // The map ends with its buffer: nothing may be read past the last channel of the last pixel.
            _floats = new Floats(n * h * w * pitch);
            _floats.Fill(float.NaN);
            Map = new Map(_floats.Data + _first, n, h, w, c, pitch);
            for (int p = 0; p < n * h * w; p++)
            {
                for (int k = 0; k < c; k++) this[p, k] = (float)(2 * random.NextDouble() - 1);
            }
        }

        public Map Map { get; }

        public float this[int pixel, int channel]
        {
            get => Map.Data[(long)pixel * Map.PixelStride + channel];
            set => Map.Data[(long)pixel * Map.PixelStride + channel] = value;
        }

        public float[] Values()
        {
            float[] values = new float[Map.Pixels * Map.C];
            for (int i = 0; i < values.Length; i++) values[i] = this[i / Map.C, i % Map.C];
            return values;
        }

        public bool SurroundingsUntouched()
        {
            Span<float> all = _floats.Span;
            for (int i = 0; i < all.Length; i++)
            {
                int channel = i % Map.PixelStride - _first;
                if ((channel < 0 || channel >= Map.C) && BitConverter.SingleToUInt32Bits(all[i]) != BitConverter.SingleToUInt32Bits(float.NaN)) return false;
            }
            return true;
        }

        public void Dispose() => _floats.Dispose();
    }
}
