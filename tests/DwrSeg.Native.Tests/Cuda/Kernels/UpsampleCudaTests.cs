using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.Native.Tests.Oracle;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class UpsampleCudaTests
{
    // Positions are rounded to fp32: on maps below 64 pixels weights are off by at most 64 · 2^-24; then three mixes and an affine map.
    private const double Error = 2e-5;

    private static Doubles Resample(Doubles x, int height, int width, double[]? scale, double[]? shift)
    {
        Doubles y = new(x.N, height, width, x.C);
        for (int n = 0; n < y.N; n++)
        for (int r = 0; r < height; r++)
        for (int k = 0; k < width; k++)
        for (int c = 0; c < y.C; c++)
        {
            double sum = 0;
            foreach ((int iy, double wy) in ResamplingOracle.Taps(r, height, x.H))
            {
                foreach ((int ix, double wx) in ResamplingOracle.Taps(k, width, x.W)) sum += wy * wx * x[n, iy, ix, c];
            }
            y[n, r, k, c] = scale is null ? sum : sum * scale[c] + shift![c];
        }
        return y;
    }

    [Theory]
    [MemberData(nameof(KernelDevice.ArchitecturesAndTypes), MemberType = typeof(KernelDevice))]
    public void MatchesPlainLoops(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        CudaElement element = KernelDevice.Element(type);
        Random random = new(architecture + type.Length);
        // Twice and four times larger as in the decoder; one pixel; smaller; the same; odd ratios.
        (int N, int H, int W, int C, int ToH, int ToW)[] cases =
        [
            (1, 6, 9, 16, 12, 18), (2, 4, 5, 24, 16, 20), (1, 1, 1, 1, 5, 7), (1, 20, 17, 8, 9, 5), (1, 7, 6, 320, 7, 6), (1, 3, 4, 11, 7, 13),
            .. Enumerable.Range(0, 6).Select(_ => (random.Next(1, 3), random.Next(1, 12), random.Next(1, 12), random.Next(1, 70),
                random.Next(1, 30), random.Next(1, 30))),
        ];
        foreach (var s in cases)
        {
            using DeviceSlice x = DeviceSlice.Random(random, device, element, (s.N, s.H, s.W, s.C));
            using DeviceSlice y = DeviceSlice.Random(random, device, element, (s.N, s.ToH, s.ToW, s.C));
            Doubles values = x.Randomise(random);
            double[]? scale = null, shift = null;
            if (random.Next(2) == 0)
            {
                scale = [.. Enumerable.Range(0, s.C).Select(_ => (double)(float)(random.NextDouble() * 2 - 1))];
                shift = [.. Enumerable.Range(0, s.C).Select(_ => (double)(float)(random.NextDouble() * 2 - 1))];
            }
            using CudaDeviceVariable<float>? scales = scale is null ? null : device.UploadFloats(scale), shifts = shift is null ? null : device.UploadFloats(shift);
            CudaLaunch launch = UpsampleCuda.Prepare(
                device.Kernels, x.Map, y.Map, scales?.DevicePointer ?? default, shifts?.DevicePointer ?? default);
            device.Run(launch);
            y.AssertClose($"{s}, {launch}", Resample(values, s.ToH, s.ToW, scale, shift), Error);
        }
    }

    [Theory]
    [InlineData(32, 64)]
    [InlineData(16, 32)]
    public void MovesLittleMoreThanItMust(int height, int width)
    {
        // Stages 3 and 4 into the decoder's 320 channels at 512x1024, in fp16.
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float16, (1, height, width, 128)), y = new(device, CudaElement.Float16, (1, 64, 128, 128), 64, 128);
        x.Randomise(new Random(1));
        LaunchStatistics counts = device.Count(UpsampleCuda.Prepare(device.Kernels, x.Map, y.Map));
        LaunchCounts.AssertLoadsAtMost(1.25, x.Map.Bytes, counts);
        LaunchCounts.AssertStoresAtLeast(0.9, y.Map.Bytes, counts);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 4, 4, 8)), y = new(device, CudaElement.Float32, (1, 8, 8, 8));
        using CudaDeviceVariable<float> scale = device.UploadFloats(new double[8]);
        Assert.Throws<ArgumentException>(() => UpsampleCuda.Prepare(device.Kernels, x.Map, y.Map with { C = 4 }));
        Assert.Throws<ArgumentException>(() => UpsampleCuda.Prepare(device.Kernels, x.Map, y.Map, scale.DevicePointer));
    }
}
