using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Backends.Cpu.Kernels;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.Native.Tests.Oracle;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class PreprocessCudaTests
{
    // Normalised values are below 3; positions in fp32 on sides below 128, times 255 · scale (about 4.4): 128 · 2^-24 · 4.4 · 2.
    private const double Error = 1e-4;

    private static readonly Normalization Norm = Normalization.ImageNet;

    private static byte[] RandomImage(Random random, int height, int rowBytes)
    {
        var bytes = new byte[height * rowBytes];
        random.NextBytes(bytes);
        return bytes;
    }

    private static double Channel(byte[] image, int width, int height, int rowBytes, PixelFormat format, int y, int toH, int x, int toW, int c)
    {
        int order = format is PixelFormat.Bgr or PixelFormat.Bgra ? 2 - c : c;
        double sum = 0;
        foreach ((int iy, double wy) in ResamplingOracle.Taps(y, toH, height))
        {
            foreach ((int ix, double wx) in ResamplingOracle.Taps(x, toW, width))
                sum += wy * wx * image[iy * rowBytes + ix * format.BytesPerPixel() + order];
        }
        (double mean, double deviation) = c switch
        {
            0 => (Norm.MeanR, Norm.DeviationR),
            1 => (Norm.MeanG, Norm.DeviationG),
            _ => (Norm.MeanB, Norm.DeviationB),
        };
        return (sum / 255 - mean) / deviation;
    }

    [Theory]
    [MemberData(nameof(KernelDevice.ArchitecturesAndTypes), MemberType = typeof(KernelDevice))]
    public void MatchesPlainLoops(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        CudaElement element = KernelDevice.Element(type);
        Random random = new(architecture + type.Length);
        foreach (PixelFormat format in Enum.GetValues<PixelFormat>())
        foreach ((int width, int height, int toW, int toH, int padding) in new[]
        {
            (1, 1, 3, 2, 0), (19, 11, 19, 11, 3), (40, 23, 17, 12, 0), (13, 9, 41, 30, 8), (64, 16, 64, 32, 4),
        })
        {
            int channels = new[] { 3, 3, 4, 8 }[random.Next(4)], rowBytes = width * format.BytesPerPixel() + padding;
            byte[] image = RandomImage(random, height, rowBytes);
            using CudaDeviceVariable<byte> pixels = device.Upload<byte>(image);
            using DeviceSlice y = random.Next(2) == 0
                ? new DeviceSlice(device, element, (1, toH, toW, channels)) : DeviceSlice.Random(random, device, element, (1, toH, toW, channels));
            CudaLaunch launch = PreprocessCuda.Prepare(device.Kernels, new(pixels.DevicePointer, width, height, rowBytes, format), y.Map, Norm);
            device.Run(launch);
            Doubles expected = new(1, toH, toW, channels);
            for (int r = 0; r < toH; r++)
            for (int k = 0; k < toW; k++)
            for (int c = 0; c < 3; c++)
                expected[0, r, k, c] = Channel(image, width, height, rowBytes, format, r, toH, k, toW, c);
            y.AssertClose($"{width}x{height} {format} to {toW}x{toH}, {launch}", expected, Error);
        }
    }

    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public unsafe void GivesTheBitsOfTheCpu(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(5);
        using WorkerPool pool = new(2);
        foreach ((int width, int height, int toW, int toH) in new[] { (37, 29, 64, 40), (100, 41, 33, 30), (24, 24, 24, 24) })
        {
            byte[] image = RandomImage(random, height, width * 3);
            using CudaDeviceVariable<byte> pixels = device.Upload<byte>(image);
            using DeviceSlice y = new(device, CudaElement.Float32, (1, toH, toW, 3));
            device.Run(PreprocessCuda.Prepare(device.Kernels, new(pixels.DevicePointer, width, height, width * 3, PixelFormat.Rgb), y.Map, Norm));
            using Slice cpu = new(1, toH, toW, 3);
            Preprocess.Run(pool, new ImageView(image, width, height, width * 3, PixelFormat.Rgb), cpu.Map, Norm);
            Assert.Equal(cpu.ToDoubles().Data, y.Read("preprocess").Data);
        }
    }

    [Theory]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(8)]
    public void MovesLittleMoreThanItMust(int channels)
    {
        KernelDevice device = KernelDevice.Usual;
        byte[] image = RandomImage(new Random(1), 512, 1024 * 3);
        using CudaDeviceVariable<byte> pixels = device.Upload<byte>(image);
        using DeviceSlice y = new(device, CudaElement.Float16, (1, 512, 1024, channels));
        CudaLaunch launch = PreprocessCuda.Prepare(device.Kernels, new(pixels.DevicePointer, 1024, 512, 3072, PixelFormat.Rgb), y.Map, Norm);
        LaunchStatistics counts = device.Count(launch);
        LaunchCounts.AssertLoadsAtMost(1.25, image.Length, counts);
        LaunchCounts.AssertStoresAtLeast(0.9, y.Map.Bytes, counts);
        LaunchCounts.AssertConflictsBelow(0.05, counts);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using CudaDeviceVariable<byte> pixels = device.Upload<byte>(new byte[100]);
        using DeviceSlice y = new(device, CudaElement.Float32, (1, 5, 5, 3));
        DeviceImage image = new(pixels.DevicePointer, 5, 5, 15, PixelFormat.Rgb);
        Assert.Throws<ArgumentException>(() => PreprocessCuda.Prepare(device.Kernels, image with { RowBytes = 14 }, y.Map, Norm));
        Assert.Throws<ArgumentException>(() => PreprocessCuda.Prepare(device.Kernels, image with { Height = 0 }, y.Map, Norm));
        Assert.Throws<ArgumentException>(() => PreprocessCuda.Prepare(device.Kernels, image, y.Map with { C = 2 }, Norm));
    }
}
