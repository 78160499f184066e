using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class FoldBatchNormCudaTests
{
    private const float Epsilon = 1e-5f;

    /// <summary>A fold with random parameters on the device, and plain loops for it.</summary>
    private sealed class Fold : IDisposable
    {
        private readonly FoldKind _kind;
        private readonly int _outputs, _taps, _inputs;
        private readonly double[] _weights, _gamma, _beta, _mean, _variance;
        private readonly double[]? _bias;
        private readonly List<CudaDeviceVariable<float>> _memory = [];
        private readonly DeviceSlice _foldedWeights, _foldedBias;

        public Fold(KernelDevice device, Random random, FoldKind kind, int outputs, int taps, int inputs, bool biased, CudaElement folded)
        {
            (_kind, _outputs, _taps, _inputs) = (kind, outputs, taps, inputs);
            int norms = kind == FoldKind.Input ? inputs : outputs;
            _weights = Values(outputs * taps * inputs, -1);
            _bias = biased ? Values(outputs, -1) : null;
            (_gamma, _beta, _mean, _variance) = (Values(norms, 0.5), Values(norms, -1), Values(norms, -1), Values(norms, 0.1));
            _foldedWeights = new DeviceSlice(device, folded, (1, 1, 1, _weights.Length));
            _foldedBias = new DeviceSlice(device, CudaElement.Float32, (1, 1, 1, Cases * outputs));
            Arguments = new CudaFold(kind, outputs, taps, inputs, Epsilon, folded)
            {
                Weights = Upload(_weights), Bias = _bias is null ? default : Upload(_bias), Gamma = Upload(_gamma), Beta = Upload(_beta),
                Mean = Upload(_mean), Variance = Upload(_variance), FoldedWeights = _foldedWeights.Map.Data, FoldedBias = _foldedBias.Map.Data,
            };

            double[] Values(int count, double from) => [.. Enumerable.Range(0, count).Select(_ => (double)(float)(from + random.NextDouble() * (1 - from)))];

            CUdeviceptr Upload(double[] values)
            {
                _memory.Add(device.UploadFloats(values));
                return _memory[^1].DevicePointer;
            }
        }

        public CudaFold Arguments { get; }

        private int Cases => _kind == FoldKind.Input && _taps == 9 ? Conv2d.BorderCases : 1;

        public void AssertFolded(string name)
        {
            Doubles weights = new(1, 1, 1, _weights.Length), bias = new(1, 1, 1, Cases * _outputs);
            for (int o = 0; o < _outputs; o++)
            {
                for (int row = 0; row < Cases; row++) bias.Data[row * _outputs + o] = _bias?[o] ?? 0;
                if (_kind != FoldKind.Input) bias.Data[o] = bias.Data[o] * Scale(o) + Shift(o);
                for (int tap = 0; tap < _taps; tap++)
                for (int i = 0; i < _inputs; i++)
                {
                    int at = _kind == FoldKind.Depthwise ? tap * _outputs + o : (o * _taps + tap) * _inputs + i;
                    weights.Data[at] = _weights[at] * Scale(_kind == FoldKind.Input ? i : o);
                    for (int row = 0; _kind == FoldKind.Input && row < Cases; row++)
                    {
                        if (IsInside(row / 4, tap / 3) && IsInside(row % 4, tap % 3)) bias.Data[row * _outputs + o] += _weights[at] * Shift(i);
                    }
                }
            }
            // fp64 with one rounding at the end; what is left is the last digit of fp64 sums.
            // 16-bit weights are rounded by way of fp32, which moves a tie by at most an ulp of fp32.
            _foldedWeights.AssertClose($"{name}, weights", weights, 1e-6);
            _foldedBias.AssertClose($"{name}, bias", bias, 1e-12);
        }

        public void Dispose()
        {
            _memory.ForEach(m => m.Dispose());
            _foldedWeights.Dispose();
            _foldedBias.Dispose();
        }

        private double Scale(int c) => _gamma[c] / Math.Sqrt(_variance[c] + Epsilon);

        private double Shift(int c) => _beta[c] - _mean[c] * Scale(c);

        // A 1x1 kernel has its only tap in the middle of no border case.
        private bool IsInside(int borderCase, int tap) => _taps == 1 || tap == 1 || (borderCase & (tap == 0 ? 1 : 2)) == 0;
    }

    [Theory]
    [MemberData(nameof(KernelDevice.ArchitecturesAndTypes), MemberType = typeof(KernelDevice))]
    public void AllFoldsOfATableMatchPlainLoops(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        CudaElement folded = KernelDevice.Element(type);
        Random random = new(architecture + type.Length);
        (FoldKind Kind, int Outputs, int Taps, int Inputs)[] shapes =
        [
            (FoldKind.Dense, 1, 1, 1), (FoldKind.Dense, 19, 9, 33), (FoldKind.Depthwise, 320, 9, 1), (FoldKind.Depthwise, 7, 9, 1),
            (FoldKind.Input, 12, 9, 320), (FoldKind.Input, 3, 9, 5), (FoldKind.Input, 9, 1, 130), (FoldKind.Dense, 64, 1, 96),
        ];
        Fold[] folds = [.. shapes.SelectMany(s => new[] { false, true }.Select(biased =>
            new Fold(device, random, s.Kind, s.Outputs, s.Taps, s.Inputs, biased, biased ? folded : CudaElement.Float32)))];
        using FoldBatchNormCuda table = new(device.Kernels, [.. folds.Select(f => f.Arguments)], device.Stream);
        device.Run(table.Launch);
        foreach (Fold fold in folds)
        {
            fold.AssertFolded(fold.Arguments.ToString());
            fold.Dispose();
        }
    }

    [Fact]
    public void MovesLittleMoreThanItMust()
    {
        // A module of stage 4 with its branches, and the decoder's BN in front of its convolution.
        KernelDevice device = KernelDevice.Usual;
        Random random = new(2);
        (FoldKind Kind, int Outputs, int Taps, int Inputs)[] shapes =
        [
            (FoldKind.Dense, 192, 9, 128), (FoldKind.Depthwise, 128, 9, 1), (FoldKind.Depthwise, 64, 9, 1), (FoldKind.Depthwise, 64, 9, 1),
            (FoldKind.Input, 128, 9, 320),
        ];
        Fold[] folds = [.. shapes.Select(s => new Fold(device, random, s.Kind, s.Outputs, s.Taps, s.Inputs, false, CudaElement.Float32))];
        using FoldBatchNormCuda table = new(device.Kernels, [.. folds.Select(f => f.Arguments)], device.Stream);
        LaunchStatistics counts = device.Count(table.Launch);
        long weights = shapes.Sum(s => 4L * s.Outputs * s.Taps * s.Inputs);
        LaunchCounts.AssertLoadsAtMost(1.01, weights, counts);
        LaunchCounts.AssertStoresAtLeast(0.9, weights, counts);
        foreach (Fold fold in folds) fold.Dispose();
    }

    [Fact]
    public void TypeThatTheDeviceHasNotIsRefused()
    {
        Assert.SkipWhen(KernelDevice.IsReal, "needs an emulated sm_75");
        KernelDevice device = KernelDevice.On(75);
        using Fold fold = new(device, new Random(1), FoldKind.Dense, 3, 9, 2, true, CudaElement.Float32);
        Assert.Contains("has no bf16 kernels", Assert.Throws<ArgumentException>(() => new FoldBatchNormCuda(
            device.Kernels, [fold.Arguments with { FoldedElement = CudaElement.BFloat16 }], device.Stream)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using Fold fold = new(device, new Random(1), FoldKind.Dense, 3, 9, 2, true, CudaElement.Float32);
        Assert.Throws<ArgumentException>(() => new FoldBatchNormCuda(device.Kernels, [], device.Stream));
        Assert.Throws<ArgumentException>(() => new FoldBatchNormCuda(device.Kernels, [fold.Arguments with { Taps = 4 }], device.Stream));
        Assert.Throws<ArgumentException>(
            () => new FoldBatchNormCuda(device.Kernels, [fold.Arguments with { Kind = FoldKind.Depthwise }], device.Stream));
    }
}
