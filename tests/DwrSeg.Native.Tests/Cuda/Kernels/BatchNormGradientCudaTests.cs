using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class BatchNormGradientCudaTests
{
    /// <summary>A gradient with its memory, filled with random numbers, and plain loops for what it must give.</summary>
    private sealed class Gradient : IDisposable
    {
        private readonly KernelDevice _device;
        private readonly DeviceSlice _gamma, _mean, _inverse, _dgamma, _dbeta;
        private readonly CudaDeviceVariable<byte> _coefficients;
        private readonly double[] _gammas, _means, _inverses;
        private readonly Doubles _x, _dy;
        private readonly double[] _before;

        public Gradient(KernelDevice device, Random random, (int N, int H, int W, int C) shape, bool accumulate, double mean = 0)
        {
            (_device, Accumulates) = (device, accumulate);
            DeviceSlice Map() => DeviceSlice.Random(random, device, CudaElement.Float32, shape);
            DeviceSlice Vector() => DeviceSlice.Random(random, device, CudaElement.Float32, (1, 1, 1, shape.C));
            (X, Dy, Dx) = (Map(), Map(), Map());
            (_gamma, _mean, _inverse, _dgamma, _dbeta) = (Vector(), Vector(), Vector(), Vector(), Vector());
            _x = X.Randomise(random);
            for (int i = 0; i < _x.Data.Length; i++) _x.Data[i] = (float)(_x.Data[i] + mean);
            X.Write(_x.Data);
            _dy = Dy.Randomise(random);
            _before = accumulate ? Dx.Randomise(random).Data : [];
            _gammas = _gamma.Randomise(random).Data;
            _means = [.. _mean.Randomise(random).Data.Select(v => (double)(float)(mean + v / 4))];
            _mean.Write(_means);
            _inverses = [.. _inverse.Randomise(random).Data.Select(v => (double)(float)(v + 2))];
            _inverse.Write(_inverses);
            _coefficients = new CudaDeviceVariable<byte>(device.Context, BatchNormGradientCuda.CoefficientBytes(shape.C));
        }

        public DeviceSlice X { get; }

        public DeviceSlice Dy { get; }

        public DeviceSlice Dx { get; }

        public bool Accumulates { get; }

        public CudaBatchNormGradient Norm => new(
            _gamma.Map.Data, _mean.Map.Data, _inverse.Map.Data, _dgamma.Map.Data, _dbeta.Map.Data, _coefficients.DevicePointer);

        public (long PartialBytes, int Tiles) Need => BatchNormGradientCuda.WorkspaceFor(_device.Context.Device, X.Map, Dy.Map);

        public CudaLaunch Sums(SplitWorkspace workspace) => BatchNormGradientCuda.PrepareSums(_device.Kernels, X.Map, Dy.Map, Norm, workspace);

        public CudaLaunch Data() => BatchNormGradientCuda.PrepareData(_device.Kernels, X.Map, Dy.Map, Dx.Map, Norm, Accumulates);

        public void Run()
        {
            SharedSums.RunTwice(
                _device, Need, Sums, () => { }, () => [.. _dgamma.Read("dgamma").Data, .. _dbeta.Read("dbeta").Data]);
            Dx.Write(_before);
            _device.Run(Data());
        }

        public void AssertMatches(string name, DeviceSlice? dx = null)
        {
            int channels = _x.C, pixels = _x.Data.Length / channels;
            Doubles dgamma = new(1, 1, 1, channels), dbeta = new(1, 1, 1, channels), expected = new(_x.N, _x.H, _x.W, channels);
            double Normalised(int i) => (_x.Data[i] - _means[i % channels]) * _inverses[i % channels];
            for (int i = 0; i < _x.Data.Length; i++)
            {
                dbeta.Data[i % channels] += _dy.Data[i];
                dgamma.Data[i % channels] += _dy.Data[i] * Normalised(i);
            }
            for (int i = 0; i < _x.Data.Length; i++)
            {
                int c = i % channels;
                expected.Data[i] = (Accumulates ? _before[i] : 0)
                    + _gammas[c] * _inverses[c] * (_dy.Data[i] - dbeta.Data[c] / pixels - Normalised(i) * dgamma.Data[c] / pixels);
            }
            // Trees of numbers up to 1, and up to 4, whose partial sums are rounded to 24 bits; then half a dozen roundings of values up to about 10.
            _dbeta.AssertClose($"{name}, dbeta", dbeta, 1e-6 + pixels * 6e-8);
            _dgamma.AssertClose($"{name}, dgamma", dgamma, 4e-6 + pixels * 24e-8);
            (dx ?? Dx).AssertClose($"{name}, dx", expected, 8e-6);
        }

        public void Dispose()
        {
            foreach (DeviceSlice slice in new[] { X, Dy, Dx, _gamma, _mean, _inverse, _dgamma, _dbeta }) slice.Dispose();
            _coefficients.Dispose();
        }
    }

    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void MatchesPlainLoops(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture);
        // One element; several chunks of few and of many channels; lanes without channels.
        (int N, int H, int W, int C)[] cases =
        [
            (1, 1, 1, 1), (1, 40, 40, 8), (2, 9, 31, 320), (3, 25, 21, 3), (1, 13, 17, 20),
            .. Enumerable.Range(0, 6).Select(_ => (random.Next(1, 3), random.Next(1, 20), random.Next(1, 20), random.Next(1, 90))),
        ];
        foreach (var s in cases)
        {
            using Gradient gradient = new(device, random, s, random.Next(2) == 0);
            gradient.Run();
            gradient.AssertMatches($"{s}, accumulate {gradient.Accumulates}, {gradient.Data()}");
        }
    }

    [Fact]
    public void LargeMeansDoNoHarm()
    {
        KernelDevice device = KernelDevice.Usual;
        foreach (int channels in new[] { 8, 5 })
        {
            using Gradient gradient = new(device, new Random(channels), (1, 40, 31, channels), false, mean: 10_000);
            gradient.Run();
            gradient.AssertMatches("mean 10,000");
        }
    }

    [Fact]
    public void WorksInPlaceOfTheOutputsGradient()
    {
        KernelDevice device = KernelDevice.Usual;
        using Gradient gradient = new(device, new Random(3), (1, 20, 31, 12), false);
        gradient.Run();
        device.Run(BatchNormGradientCuda.PrepareData(device.Kernels, gradient.X.Map, gradient.Dy.Map, gradient.Dy.Map, gradient.Norm, false));
        gradient.AssertMatches("in place", gradient.Dy);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void MovesWhatItMust(bool accumulate)
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 64, 128, 64)), dy = new(device, CudaElement.Float32, (1, 64, 128, 64));
        using DeviceSlice dx = new(device, CudaElement.Float32, (1, 64, 128, 64), 64, 192);
        using Gradient gradient = new(device, new Random(1), (1, 1, 1, 64), accumulate);
        x.Randomise(new Random(2));
        dy.Randomise(new Random(3));
        dx.Randomise(new Random(4));
        (long PartialBytes, int Tiles) need = BatchNormGradientCuda.WorkspaceFor(device.Context.Device, x.Map, dy.Map);
        LaunchStatistics sums = SharedSums.Count(
            device, need, w => BatchNormGradientCuda.PrepareSums(device.Kernels, x.Map, dy.Map, gradient.Norm, w));
        LaunchCounts.AssertLoadsAtMost(1, x.Map.Bytes + dy.Map.Bytes + need.PartialBytes + 12 * 64 + 128, sums);
        LaunchCounts.AssertConflictsBelow(0.05, sums);
        LaunchStatistics data = device.Count(BatchNormGradientCuda.PrepareData(device.Kernels, x.Map, dy.Map, dx.Map, gradient.Norm, accumulate));
        LaunchCounts.AssertLoadsAtMost(
            1, x.Map.Bytes + dy.Map.Bytes + (accumulate ? dx.Map.Bytes : 0) + BatchNormGradientCuda.CoefficientBytes(64), data);
        LaunchCounts.AssertStoresAtLeast(1, dx.Map.Bytes, data);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using Gradient gradient = new(device, new Random(1), (1, 4, 5, 8), false);
        DeviceMap x = gradient.X.Map, dy = gradient.Dy.Map, dx = gradient.Dx.Map;
        CudaBatchNormGradient norm = gradient.Norm;
        void Prepare(DeviceMap a, DeviceMap b, DeviceMap c, CudaBatchNormGradient n)
        {
            Assert.Throws<ArgumentException>(() => BatchNormGradientCuda.PrepareData(device.Kernels, a, b, c, n, false));
            if (c == dx) Assert.Throws<ArgumentException>(() => BatchNormGradientCuda.PrepareSums(device.Kernels, a, b, n, SplitWorkspace.None));
        }
        Prepare(x with { H = 3 }, dy, dx, norm);
        Prepare(x, dy with { Element = CudaElement.Float16 }, dx, norm);
        Prepare(x, dy, dx with { C = 7 }, norm);
        Prepare(x, dy, dx, norm with { Dbeta = default });
        Prepare(x, dy, dx, norm with { Coefficients = norm.Coefficients + 4 });
    }
}
