using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class ScaledCopyCudaTests
{
    // Two roundings of values up to about 4.
    private const double Error = 5e-7;

    [Theory]
    [MemberData(nameof(KernelDevice.ArchitecturesAndTypes), MemberType = typeof(KernelDevice))]
    public void MatchesPlainLoops_ToEveryType(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        CudaElement source = KernelDevice.Element(type);
        Random random = new(architecture + type.Length);
        foreach (CudaElement target in Enum.GetValues<CudaElement>().Where(device.Supports))
        for (int i = 0; i < 5; i++)
        {
            (int N, int H, int W, int C) s = (random.Next(1, 3), random.Next(1, 20), random.Next(1, 20), i == 0 ? 320 : i == 1 ? 16 : random.Next(1, 90));
            using DeviceSlice x = DeviceSlice.Random(random, device, source, s), y = DeviceSlice.Random(random, device, target, s);
            Doubles values = x.Randomise(random), expected = new(s.N, s.H, s.W, s.C);
            float factor = random.Next(2) == 0 ? 1 : 0.75f;
            double[] scale = [.. Enumerable.Range(0, s.C).Select(_ => (double)(float)(random.NextDouble() * 4 - 2))];
            double[] shift = [.. Enumerable.Range(0, s.C).Select(_ => (double)(float)(random.NextDouble() * 4 - 2))];
            bool isAffine = random.Next(2) == 0;
            for (int e = 0; e < values.Data.Length; e++)
                expected.Data[e] = isAffine ? values.Data[e] * factor * scale[e % s.C] + shift[e % s.C] : values.Data[e] * factor;
            using CudaDeviceVariable<float> scales = device.UploadFloats(scale), shifts = device.UploadFloats(shift);
            CudaLaunch launch = ScaledCopyCuda.Prepare(
                device.Kernels, x.Map, y.Map, factor, isAffine ? scales.DevicePointer : default, isAffine ? shifts.DevicePointer : default);
            device.Run(launch);
            y.AssertClose($"{s}, {launch}", expected, Error);
        }
    }

    [Fact]
    public void WorksInPlace()
    {
        KernelDevice device = KernelDevice.Usual;
        foreach (int channels in new[] { 16, 13 })
        {
            using DeviceSlice x = new(device, CudaElement.Float16, (1, 9, 11, channels), 3, 5);
            Doubles expected = x.Randomise(new Random(2));
            for (int i = 0; i < expected.Data.Length; i++) expected.Data[i] *= 0.5;
            device.Run(ScaledCopyCuda.Prepare(device.Kernels, x.Map, x.Map, 0.5f));
            x.AssertClose("in place", expected, 0);
        }
    }

    [Fact]
    public void MovesWhatItMust()
    {
        // A stage's output into its slice of the decoder's map.
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float16, (1, 64, 128, 64)), y = new(device, CudaElement.Float16, (1, 64, 128, 64), 0, 256);
        x.Randomise(new Random(1));
        LaunchStatistics counts = device.Count(ScaledCopyCuda.Prepare(device.Kernels, x.Map, y.Map));
        LaunchCounts.AssertLoadsAtMost(1, x.Map.Bytes, counts);
        LaunchCounts.AssertStoresAtLeast(1, y.Map.Bytes, counts);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 5, 5, 8)), y = new(device, CudaElement.Float32, (1, 5, 4, 8));
        Assert.Throws<ArgumentException>(() => ScaledCopyCuda.Prepare(device.Kernels, x.Map, y.Map));
    }
}
