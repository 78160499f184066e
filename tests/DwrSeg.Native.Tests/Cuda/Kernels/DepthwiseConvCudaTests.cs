using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class DepthwiseConvCudaTests
{
    // Nine products and a bias of order 1, each rounded to 24 bits.
    private const double Error = 2e-6;

    /// <summary>A branch with its memory, filled with random numbers.</summary>
    private sealed class Branch : IDisposable
    {
        private readonly CudaDeviceVariable<float> _weights;
        private readonly CudaDeviceVariable<float>? _bias;
        private readonly double[] _weightValues, _biasValues;
        private readonly int _multiplier, _dilation;

        public Branch(KernelDevice device, Random random, DeviceSlice x, DeviceSlice y, int multiplier, int dilation, bool biased)
        {
            (X, Y, _multiplier, _dilation) = (x, y, multiplier, dilation);
            _weightValues = [.. Enumerable.Range(0, 9 * y.Map.C).Select(_ => (double)(float)(random.NextDouble() * 2 - 1))];
            _biasValues = [.. Enumerable.Range(0, y.Map.C).Select(_ => biased ? (double)(float)(random.NextDouble() * 2 - 1) : 0)];
            _weights = device.UploadFloats(_weightValues);
            _bias = biased ? device.UploadFloats(_biasValues) : null;
            Input = x.Randomise(random);
        }

        public DeviceSlice X { get; }

        public DeviceSlice Y { get; }

        public Doubles Input { get; }

        public CudaDepthwiseBranch Arguments =>
            new(X.Map, Y.Map, _weights.DevicePointer, _bias?.DevicePointer ?? default, _multiplier, _dilation);

        public Doubles Expected(bool relu)
        {
            Doubles y = new(Input.N, Input.H, Input.W, Input.C * _multiplier);
            for (int n = 0; n < y.N; n++)
            for (int row = 0; row < y.H; row++)
            for (int column = 0; column < y.W; column++)
            for (int c = 0; c < y.C; c++)
            {
                double sum = _biasValues[c];
                for (int tap = 0; tap < 9; tap++)
                {
                    int r = row + (tap / 3 - 1) * _dilation, k = column + (tap % 3 - 1) * _dilation;
                    if (r >= 0 && r < y.H && k >= 0 && k < y.W) sum += _weightValues[tap * y.C + c] * Input[n, r, k, c / _multiplier];
                }
                y[n, row, column, c] = relu ? Math.Max(sum, 0) : sum;
            }
            return y;
        }

        public void Dispose()
        {
            X.Dispose();
            Y.Dispose();
            _weights.Dispose();
            _bias?.Dispose();
        }
    }

    [Theory]
    [MemberData(nameof(KernelDevice.ArchitecturesAndTypes), MemberType = typeof(KernelDevice))]
    public void MatchesPlainLoops(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        CudaElement element = KernelDevice.Element(type);
        Random random = new(architecture + type.Length);
        // One pixel; a dilation beyond the map; several tiles with a ragged end; whole vectors of several chunks; 320 channels.
        (int N, int H, int W, int C, int Multiplier, int Dilation)[] cases =
        [
            (1, 1, 1, 1, 1, 1), (2, 1, 3, 17, 2, 5), (1, 3, 2, 16, 2, 40), (2, 19, 23, 16, 2, 1), (1, 18, 33, 24, 1, 3),
            (1, 7, 9, 320, 1, 5), (1, 21, 9, 32, 1, 20), (1, 20, 19, 16, 1, int.MaxValue), (1, 9, 10, 8, 3, 2), (1, 5, 6, 7, 4, 1),
            .. Enumerable.Range(0, 8).Select(_ => (random.Next(1, 3), random.Next(1, 20), random.Next(1, 20), random.Next(1, 40),
                random.Next(1, 4), random.Next(1, 8))),
        ];
        foreach (var s in cases)
        {
            bool relu = random.Next(2) == 0;
            using Branch branch = new(
                device, random, DeviceSlice.Random(random, device, element, (s.N, s.H, s.W, s.C)),
                DeviceSlice.Random(random, device, element, (s.N, s.H, s.W, s.C * s.Multiplier)), s.Multiplier, s.Dilation, random.Next(3) > 0);
            CudaLaunch launch = DepthwiseConvCuda.Prepare(device.Kernels, [branch.Arguments], relu);
            device.Run(launch);
            branch.Y.AssertClose($"{s}, {launch}", branch.Expected(relu), Error);
        }
    }

    [Theory]
    [MemberData(nameof(KernelDevice.ArchitecturesAndTypes), MemberType = typeof(KernelDevice))]
    public void BranchesOfADwrModuleRunInOneLaunch(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        CudaElement element = KernelDevice.Element(type);
        Random random = new(3);
        (int Multiplier, int Dilation)[] shapes = [(2, 1), (1, 3), (1, 5)];
        Branch[] branches = [.. shapes.Select(s => new Branch(
            device, random, new DeviceSlice(device, element, (2, 16, 32, 32), 16, 8), new DeviceSlice(device, element, (2, 16, 32, 32 * s.Multiplier), 8),
            s.Multiplier, s.Dilation, biased: true))];
        CudaLaunch launch = DepthwiseConvCuda.Prepare(device.Kernels, [.. branches.Select(b => b.Arguments)], relu: true);
        device.Run(launch);
        foreach (Branch branch in branches)
        {
            branch.Y.AssertClose(launch.ToString(), branch.Expected(relu: true), Error);
            branch.Dispose();
        }
    }

    [Theory]
    [MemberData(nameof(KernelDevice.Types), MemberType = typeof(KernelDevice))]
    public void EveryTileGivesTheSameBits(string type)
    {
        // A batch makes the launcher choose larger tiles; every image of it is the same.
        KernelDevice device = KernelDevice.Usual;
        CudaElement element = KernelDevice.Element(type);
        var results = new Dictionary<string, double[]>();
        foreach (int images in new[] { 1, 7, 30 })
        {
            Random random = new(8);
            using Branch branch = new(
                device, random, new DeviceSlice(device, element, (images, 33, 35, 64)), new DeviceSlice(device, element, (images, 33, 35, 64)), 1, 3, true);
            Doubles first = new(1, 33, 35, 64);
            branch.Input.Data.AsSpan(0, first.Data.Length).CopyTo(first.Data);
            branch.X.Write([.. Enumerable.Repeat(first.Data, images).SelectMany(d => d)]);
            CudaLaunch launch = DepthwiseConvCuda.Prepare(device.Kernels, [branch.Arguments], relu: false);
            device.Run(launch);
            double[] y = branch.Y.Read(launch.ToString()).Data;
            for (int i = 0; i < y.Length; i++) Assert.Equal(y[i % first.Data.Length], y[i]);
            results[launch.Variant.Definitions] = y[..first.Data.Length];
        }
        Assert.True(results.Count > 1, "one tile for all batches");
        Assert.All(results.Values, r => Assert.Equal(results.First().Value, r));
    }

    [Theory]
    [InlineData(32, 64, 2)]
    [InlineData(16, 32, 3)]
    public void MovesLittleMoreThanItMust(int height, int width, int count)
    {
        // The modules of stage 3 and 4 at 512x1024, in fp16: groups of 64 channels, the first with two outputs a channel.
        KernelDevice device = KernelDevice.Usual;
        Random random = new(4);
        using DeviceSlice x = new(device, CudaElement.Float16, (1, height, width, 64 * count)), y = new(device, CudaElement.Float16, (1, height, width, 64 * (count + 1)));
        x.Randomise(random);
        using CudaDeviceVariable<float> weights = device.UploadFloats(Enumerable.Repeat(0.5, 9 * 64 * (count + 1)));
        var branches = new CudaDepthwiseBranch[count];
        for (int i = 0, first = 0; i < count; i++)
        {
            int multiplier = i == 0 ? 2 : 1;
            branches[i] = new(
                x.Map.Slice(64 * i, 64), y.Map.Slice(first, 64 * multiplier), weights.DevicePointer + (ulong)(36 * first), default, multiplier, 2 * i + 1);
            first += 64 * multiplier;
        }
        CudaLaunch launch = DepthwiseConvCuda.Prepare(device.Kernels, branches, relu: false);
        LaunchStatistics counts = device.Count(launch);
        long loads = x.Map.Bytes + 36L * y.Map.C;
        LaunchCounts.AssertLoadsAtMost(1.25, loads, counts);
        LaunchCounts.AssertStoresAtLeast(0.9, y.Map.Bytes, counts);
        LaunchCounts.AssertConflictsBelow(0.05, counts);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 4, 4, 8)), y = new(device, CudaElement.Float32, (1, 4, 4, 8));
        using CudaDeviceVariable<float> w = device.UploadFloats(new double[72]);
        CudaDepthwiseBranch good = new(x.Map, y.Map, w.DevicePointer, default, 1, 1);
        foreach (CudaDepthwiseBranch bad in new[]
        {
            good with { Multiplier = 2 }, good with { Dilation = 0 }, good with { Weights = default }, good with { X = x.Map with { H = 3 } },
            good with { Y = y.Map with { Element = CudaElement.Float16 } }, good with { X = x.Map with { PixelStride = 7 } },
        })
        {
            Assert.Throws<ArgumentException>(() => DepthwiseConvCuda.Prepare(device.Kernels, [bad], relu: false));
        }
        Assert.Throws<ArgumentException>(() => DepthwiseConvCuda.Prepare(device.Kernels, [], relu: false));
        Assert.Throws<ArgumentException>(() => DepthwiseConvCuda.Prepare(device.Kernels, [.. Enumerable.Repeat(good, 9)], relu: false));
    }
}
