using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class ConvFirstCudaTests
{
    // 27 products of order a third and a bias, summed in fp32; tensor cores may round towards zero.
    private const double Error = 4e-6;

    public static IEnumerable<TheoryDataRow<int, string>> Cases => KernelDevice.ArchitecturesAndTypes;

    /// <summary>An image, its weights, and up to two maps made of it.</summary>
    private sealed class Stem : IDisposable
    {
        private readonly double[] _weights, _biases;
        private readonly CudaDeviceVariable<byte> _packed;
        private readonly CudaDeviceVariable<float> _plain, _bias;
        private readonly Doubles _image;
        private readonly KernelDevice _device;
        private readonly bool _hasBias;

        public Stem(KernelDevice device, Random random, CudaElement element, DeviceSlice image, bool hasBias, params (DeviceSlice Y, bool Relu)[] outputs)
        {
            WeightLayout layout = ConvFirstCuda.LayoutFor(element);
            int channels = outputs.Sum(o => o.Y.Map.C);
            (_device, Image, Outputs, _hasBias) = (device, image, outputs, hasBias);
            _image = image.Randomise(random);
            _weights = [.. Enumerable.Range(0, channels * 27).Select(_ => ElementCode.Round(element, (random.NextDouble() * 2 - 1) / 3))];
            _biases = [.. Enumerable.Range(0, channels).Select(_ => hasBias ? (float)(random.NextDouble() - 0.5) : 0)];
            (_plain, _bias) = (device.UploadFloats(_weights), device.UploadFloats(_biases));
            _packed = new CudaDeviceVariable<byte>(device.Context, layout.ElementsOf(channels, 9, 3) * element.Bytes());
            int first = 0;
            foreach ((DeviceSlice y, _) in outputs)
            {
                device.Run(PackWeightsCuda.Prepare(
                    device.Kernels, _plain.DevicePointer + (ulong)(first * 27 * sizeof(float)),
                    _packed.DevicePointer + (ulong)(layout.ElementsOf(first, 9, 3) * element.Bytes()), element, layout, y.Map.C, 9, 3));
                first += y.Map.C;
            }
        }

        public DeviceSlice Image { get; }

        public (DeviceSlice Y, bool Relu)[] Outputs { get; }

        public CudaLaunch Prepare() => ConvFirstCuda.Prepare(
            _device.Kernels, Image.Map, _packed.DevicePointer, _hasBias ? _bias.DevicePointer : default,
            [.. Outputs.Select(o => new FirstOutput(o.Y.Map, o.Relu))]);

        public Doubles Expected(int output)
        {
            int first = Outputs.Take(output).Sum(o => o.Y.Map.C);
            DeviceMap map = Outputs[output].Y.Map;
            Doubles y = new(map.N, map.H, map.W, map.C);
            for (int n = 0; n < y.N; n++)
            for (int row = 0; row < y.H; row++)
            for (int column = 0; column < y.W; column++)
            for (int o = 0; o < y.C; o++)
            {
                double sum = _biases[first + o];
                for (int tap = 0; tap < 9; tap++)
                {
                    int r = 2 * row + tap / 3 - 1, k = 2 * column + tap % 3 - 1;
                    if (r < 0 || r >= _image.H || k < 0 || k >= _image.W) continue;
                    for (int i = 0; i < 3; i++) sum += _weights[((first + o) * 9 + tap) * 3 + i] * _image[n, r, k, i];
                }
                y[n, row, column, o] = Outputs[output].Relu ? Math.Max(sum, 0) : sum;
            }
            return y;
        }

        public void Dispose()
        {
            Image.Dispose();
            foreach ((DeviceSlice y, _) in Outputs) y.Dispose();
            _packed.Dispose();
            _plain.Dispose();
            _bias.Dispose();
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void MatchesPlainLoops(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        CudaElement element = KernelDevice.Element(type);
        Random random = new(architecture + type.Length);
        // The stem's two maps; one pixel; a ragged end in both directions; channels that end within a warp's 32; one map alone.
        (int N, int H, int W, int First, int Second)[] cases = [(1, 18, 70, 32, 64), (2, 1, 1, 8, 8), (1, 19, 131, 24, 16), (1, 7, 66, 40, 0), (1, 3, 5, 40, 168)];
        foreach (var c in cases)
        {
            (int, int, int, int) Shape(int channels) => (c.N, (c.H + 1) / 2, (c.W + 1) / 2, channels);
            var first = (new DeviceSlice(device, element, Shape(c.First), 8, 16), Relu: false);
            using Stem stem = c.Second == 0
                ? new(device, random, element, new DeviceSlice(device, element, (c.N, c.H, c.W, 3), 0, 1, 1), hasBias: false, first)
                : new(device, random, element, new DeviceSlice(device, element, (c.N, c.H, c.W, 3)), hasBias: true, first,
                    (new DeviceSlice(device, element, Shape(c.Second)), Relu: true));
            CudaLaunch launch = stem.Prepare();
            device.Run(launch);
            for (int i = 0; i < stem.Outputs.Length; i++) stem.Outputs[i].Y.AssertClose($"{c}, map {i}, {launch}", stem.Expected(i), Error);
        }
    }

    [Theory]
    [InlineData("f16")]
    [InlineData("f32")]
    public void MovesLittleMoreThanItMust(string type)
    {
        // The stem at 128x256: a sixteenth of 512x1024.
        KernelDevice device = KernelDevice.Usual;
        CudaElement element = KernelDevice.Element(type);
        using Stem stem = new(
            device, new Random(3), element, new DeviceSlice(device, element, (1, 128, 256, 3)), hasBias: true,
            (new DeviceSlice(device, element, (1, 64, 128, 32)), false), (new DeviceSlice(device, element, (1, 64, 128, 64)), true));
        CudaLaunch launch = stem.Prepare();
        long stores = stem.Outputs.Sum(o => o.Y.Map.Bytes);
        LaunchStatistics counts = device.Count(launch);
        LaunchCounts.AssertLoadsAtMost(1.25, launch.Bytes - stores, counts);
        LaunchCounts.AssertStoresAtLeast(0.9, stores, counts);
        LaunchCounts.AssertConflictsBelow(0.05, counts);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float16, (1, 4, 4, 3)), four = new(device, CudaElement.Float16, (1, 4, 4, 4)),
            y = new(device, CudaElement.Float16, (1, 2, 2, 8)), odd = new(device, CudaElement.Float16, (1, 2, 2, 7)),
            large = new(device, CudaElement.Float16, (1, 4, 4, 8));
        using CudaDeviceVariable<float> weights = device.UploadFloats(new double[8 * 16]);
        Assert.True(ConvFirstCuda.Fits(device.Context.Device, x.Map, new FirstOutput(y.Map, false)));
        foreach ((DeviceMap from, DeviceMap to) in new[] { (four.Map, y.Map), (x.Map, odd.Map), (x.Map, large.Map) })
            Assert.Throws<ArgumentException>(() => ConvFirstCuda.Prepare(device.Kernels, from, weights.DevicePointer, default, new FirstOutput(to, false)));
        Assert.Throws<ArgumentException>(() => ConvFirstCuda.Prepare(device.Kernels, x.Map, default, default, new FirstOutput(y.Map, false)));
        Assert.Throws<ArgumentException>(() => ConvFirstCuda.Prepare(device.Kernels, x.Map, weights.DevicePointer, default));
        // What still fits shared memory, and what does not.
        foreach ((CudaElement element, int most, int step) in new[] { (CudaElement.Float16, 656, 8), (CudaElement.Float32, 208, 4) })
        {
            using DeviceSlice image = new(device, element, (1, 4, 4, 3)), fits = new(device, element, (1, 2, 2, most)), wide = new(device, element, (1, 2, 2, most + step));
            Assert.True(ConvFirstCuda.Fits(device.Context.Device, image.Map, new FirstOutput(fits.Map, false)));
            Assert.False(ConvFirstCuda.Fits(device.Context.Device, image.Map, new FirstOutput(wide.Map, false)));
        }
    }
}
