using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class BatchNormStatisticsCudaTests
{
    private const float Epsilon = 1e-5f, Momentum = 0.1f;

    /// <summary>A norm's vectors on the device, and plain loops for what they become.</summary>
    private sealed class Norm : IDisposable
    {
        private static readonly string[] Names = ["running mean", "running variance", "mean", "inverse", "scale", "shift"];

        private readonly DeviceSlice _gamma, _beta;
        private readonly DeviceSlice[] _results;
        private readonly double[] _gammas, _betas, _means, _variances;

        public Norm(KernelDevice device, Random random, int channels)
        {
            DeviceSlice New() => DeviceSlice.Random(random, device, CudaElement.Float32, (1, 1, 1, channels));
            (_gamma, _beta) = (New(), New());
            _results = [.. Names.Select(_ => New())];
            (_gammas, _betas) = (_gamma.Randomise(random).Data, _beta.Randomise(random).Data);
            _means = _results[0].Randomise(random).Data;
            _variances = [.. _results[1].Randomise(random).Data.Select(Math.Abs)];
        }

        public CudaBatchNorm Arguments => new(
            _gamma.Map.Data, _beta.Map.Data, _results[0].Map.Data, _results[1].Map.Data, _results[2].Map.Data, _results[3].Map.Data,
            _results[4].Map.Data, _results[5].Map.Data);

        public void Reset()
        {
            _results[0].Write(_means);
            _results[1].Write(_variances);
            foreach (DeviceSlice result in _results[2..]) result.Write([]);
        }

        public double[] Read() => [.. _results.SelectMany((r, i) => r.Read(Names[i]).Data)];

        public double[] this[string name] => _results[Array.IndexOf(Names, name)].Read(name).Data;

        /// <param name="name">What is looked at.</param>
        /// <param name="x">The input.</param>
        /// <param name="error">Of a mean, against its own magnitude and the deviation's.</param>
        /// <param name="relative">Of a variance, against itself.</param>
        public void AssertMatches(string name, Doubles x, double error, double relative)
        {
            int channels = x.C, pixels = x.Data.Length / channels;
            double[] mean = this["mean"], inverse = this["inverse"], scale = this["scale"], shift = this["shift"];
            double[] runningMean = this["running mean"], runningVariance = this["running variance"];
            for (int c = 0; c < channels; c++)
            {
                double[] values = [.. Enumerable.Range(0, pixels).Select(p => x.Data[p * channels + c])];
                double average = values.Average(), variance = values.Sum(v => (v - average) * (v - average)) / pixels;
                double unbiased = variance * pixels / Math.Max(pixels - 1, 1);
                string at = $"{name}, channel {c}";
                Close($"{at}, mean", average, mean[c], error * (Math.Abs(average) + Math.Sqrt(variance)));
                Close($"{at}, inverse", 1 / Math.Sqrt(variance + Epsilon), inverse[c], relative / Math.Sqrt(variance + Epsilon));
                Close($"{at}, running mean", _means[c] + Momentum * (average - _means[c]), runningMean[c], error * (1 + Math.Abs(average)));
                double moved = _variances[c] + Momentum * (unbiased - _variances[c]);
                Close($"{at}, running variance", moved, runningVariance[c], 1e-7 + relative * (1 + variance));
                // From the statistics as they were rounded.
                Close($"{at}, scale", _gammas[c] * inverse[c], scale[c], 1e-7 * inverse[c]);
                Close($"{at}, shift", _betas[c] - mean[c] * scale[c], shift[c], 2e-7 * (1 + Math.Abs(mean[c] * scale[c])));
            }
        }

        public void Dispose()
        {
            _gamma.Dispose();
            _beta.Dispose();
            foreach (DeviceSlice result in _results) result.Dispose();
        }

        private static void Close(string name, double expected, double found, double allowed) =>
            Assert.True(Math.Abs(expected - found) <= allowed, $"{name}: {found:R}, expected {expected:R} (tolerance {allowed:G3}).");
    }

    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void MatchesPlainLoops(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture);
        // A count of 1; several chunks of few and of many channels; lanes without channels; chunks that are no multiple of a thread's pixels.
        (int N, int H, int W, int C)[] cases =
        [
            (1, 1, 1, 7), (1, 1, 2, 16), (1, 40, 40, 8), (2, 9, 31, 320), (3, 25, 21, 3), (1, 13, 17, 20),
            .. Enumerable.Range(0, 5).Select(_ => (random.Next(1, 3), random.Next(1, 30), random.Next(1, 30), random.Next(1, 90))),
        ];
        foreach (var s in cases)
        {
            using DeviceSlice x = DeviceSlice.Random(random, device, CudaElement.Float32, s);
            using Norm norm = new(device, random, s.C);
            Doubles values = x.Randomise(random);
            CudaLaunch launch = RunTwice(device, x, norm);
            // A few dozen roundings to 24 bits one after the other, then a tree.
            norm.AssertMatches($"{s}, {launch}", values, 1e-6, 2e-6);
            Assert.Equal(values.Data, x.Read("the operand").Data);
            norm.Reset();
            launch = BatchNormStatisticsCuda.Prepare(device.Kernels, x.Map, norm.Arguments, Epsilon, Momentum, SplitWorkspace.None);
            Assert.Equal(1u, launch.Grid.X);
            device.Run(launch);
            norm.AssertMatches($"{s}, {launch}", values, 1e-6, 2e-6);
        }
    }

    [Theory]
    [InlineData(64)]
    [InlineData(5)]
    public void LargeMeansLeaveTheVarianceExact(int channels)
    {
        // Squares of fp32 would have an error of 8 here, for a variance of 1/3.
        KernelDevice device = KernelDevice.Usual;
        Random random = new(channels);
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 50, 37, channels));
        using Norm norm = new(device, random, channels);
        Doubles values = x.Randomise(random);
        for (int i = 0; i < values.Data.Length; i++) values.Data[i] = (float)(values.Data[i] + 10_000);
        x.Write(values.Data);
        CudaLaunch launch = RunTwice(device, x, norm);
        // The mean is known to a few roundings of 10,000; a difference from it to 1e-3, which averages out in the sum of their squares.
        norm.AssertMatches(launch.ToString(), values, 2e-7, 1e-3);
        // A thread goes over sixteen times as many pixels.
        norm.Reset();
        device.Run(BatchNormStatisticsCuda.Prepare(device.Kernels, x.Map, norm.Arguments, Epsilon, Momentum, SplitWorkspace.None));
        norm.AssertMatches("one chunk", values, 2e-7, 1e-3);
    }

    [Fact]
    public void EqualValuesHaveNoVariance()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 50, 37, 8));
        using Norm norm = new(device, new Random(1), 8);
        x.Write([.. Enumerable.Repeat((double)12345.678f, 50 * 37 * 8)]);
        RunTwice(device, x, norm);
        Assert.All(norm["mean"], m => Assert.Equal(12345.678f, m));
        Assert.All(norm["inverse"], i => Assert.Equal(1 / MathF.Sqrt(Epsilon), i, 1e-4));
    }

    [Fact]
    public void NaNAndInfinityShow()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 50, 37, 5));
        using Norm norm = new(device, new Random(1), 5);
        Doubles values = x.Randomise(new Random(2));
        values[0, 49, 36, 1] = double.NaN;
        (values[0, 0, 0, 2], values[0, 20, 3, 2]) = (double.PositiveInfinity, double.PositiveInfinity);
        values[0, 30, 30, 3] = double.NegativeInfinity;
        x.Write(values.Data);
        RunTwice(device, x, norm);
        // As sums and sums of squares would have it: the mean of infinities is infinite, their variance is not a number.
        Assert.Equal([double.NaN, double.PositiveInfinity, double.NegativeInfinity], norm["mean"][1..4]);
        Assert.Equal([double.NaN, double.PositiveInfinity, double.NegativeInfinity], norm["running mean"][1..4]);
        Assert.All(norm["inverse"][1..4].Concat(norm["running variance"][1..4]), v => Assert.Equal(double.NaN, v));
        Assert.True(double.IsFinite(norm["mean"][0]) && double.IsFinite(norm["inverse"][4]));
    }

    [Fact]
    public void MovesWhatItMust()
    {
        // The output of the first convolution of stage 2.
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 64, 128, 64));
        using Norm norm = new(device, new Random(1), 64);
        x.Randomise(new Random(2));
        (long PartialBytes, int Tiles) need = BatchNormStatisticsCuda.WorkspaceFor(device.Context.Device, x.Map);
        LaunchStatistics counts = SharedSums.Count(
            device, need, w => BatchNormStatisticsCuda.Prepare(device.Kernels, x.Map, norm.Arguments, Epsilon, Momentum, w));
        LaunchCounts.AssertLoadsAtMost(1, x.Map.Bytes + need.PartialBytes + 16 * 64 + 128, counts);
        Assert.True(need.PartialBytes < x.Map.Bytes / 10);
        LaunchCounts.AssertConflictsBelow(0.05, counts);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 4, 4, 8)), half = new(device, CudaElement.Float16, (1, 4, 4, 8));
        using Norm norm = new(device, new Random(1), 8);
        CudaBatchNorm good = norm.Arguments;
        void Refused(DeviceMap map, CudaBatchNorm n) => Assert.Throws<ArgumentException>(
            () => BatchNormStatisticsCuda.Prepare(device.Kernels, map, n, Epsilon, Momentum, SplitWorkspace.None));
        Refused(half.Map, good);
        Refused(x.Map with { W = 0 }, good);
        Refused(x.Map, good with { RunningVariance = default });
        Refused(x.Map, good with { Scale = good.Scale + 1 });
    }

    private static CudaLaunch RunTwice(KernelDevice device, DeviceSlice x, Norm norm) => SharedSums.RunTwice(
        device, BatchNormStatisticsCuda.WorkspaceFor(device.Context.Device, x.Map),
        w => BatchNormStatisticsCuda.Prepare(device.Kernels, x.Map, norm.Arguments, Epsilon, Momentum, w), norm.Reset, norm.Read);
}
