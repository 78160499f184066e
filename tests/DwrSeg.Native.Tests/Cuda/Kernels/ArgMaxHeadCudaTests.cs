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
public sealed class ArgMaxHeadCudaTests
{
    private const byte Unwritten = 254;

    /// <summary>Both maps of a launch; fails where bytes beyond the width were written.</summary>
    private static (byte[] Classes, byte[] Confidence) Run(KernelDevice device, DeviceSlice logits, int height, int width, bool hasConfidence)
    {
        int stride = width + 5;
        byte[] filled = new byte[height * stride];
        Array.Fill(filled, Unwritten);
        using CudaDeviceVariable<byte> classes = device.Upload<byte>(filled), confidence = device.Upload<byte>(filled);
        CudaLaunch launch = ArgMaxHeadCuda.Prepare(
            device.Kernels, logits.Map, height, width, new ByteMap(classes.DevicePointer, stride),
            hasConfidence ? new ByteMap(confidence.DevicePointer, stride) : default);
        device.Run(launch);
        byte[] map = classes.ToArray(device.Stream), confidences = confidence.ToArray(device.Stream);
        for (int i = 0; i < map.Length; i++)
        {
            if (i % stride >= width) Assert.Equal((Unwritten, Unwritten), (map[i], confidences[i]));
        }
        if (!hasConfidence) Assert.All(confidences, b => Assert.Equal(Unwritten, b));
        return ([.. map.Where((_, i) => i % stride < width)], [.. confidences.Where((_, i) => i % stride < width)]);
    }

    [Theory]
    [MemberData(nameof(KernelDevice.ArchitecturesAndTypes), MemberType = typeof(KernelDevice))]
    public void IsTheArgMaxOfTheUpsampledLogits(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        CudaElement element = KernelDevice.Element(type);
        Random random = new(architecture + type.Length);
        foreach ((int h, int w, int classes, int height, int width) in new[]
        {
            (1, 1, 1, 1, 1), (1, 1, 11, 7, 5), (8, 10, 19, 64, 80), (9, 12, 11, 70, 45), (40, 50, 19, 9, 13), (5, 4, 255, 20, 33), (60, 90, 200, 31, 40),
        })
        {
            using DeviceSlice logits = DeviceSlice.Random(random, device, element, (1, h, w, classes));
            Doubles values = logits.Randomise(random, 3);
            (byte[] map, byte[] confidence) = Run(device, logits, height, width, hasConfidence: true);
            Assert.Equal(map, Run(device, logits, height, width, hasConfidence: false).Classes);
            for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++)
            {
                double[] v = new double[classes];
                foreach ((int iy, double wy) in ResamplingOracle.Taps(y, height, h))
                foreach ((int ix, double wx) in ResamplingOracle.Taps(x, width, w))
                {
                    for (int c = 0; c < classes; c++) v[c] += wy * wx * values[0, iy, ix, c];
                }
                // Positions are rounded to fp32, so where two classes are that close either may win.
                byte winner = map[y * width + x];
                Assert.True(v[winner] >= v.Max() - 1e-4, $"{h}x{w}x{classes} to {height}x{width}, pixel {y}, {x}: class {winner}");
                // Rounded to whole numbers; fp32 may fall on the other side of a half.
                Assert.InRange(confidence[y * width + x], 255 / v.Sum(a => Math.Exp(a - v.Max())) - 0.52, 255 / v.Sum(a => Math.Exp(a - v.Max())) + 0.52);
            }
        }
    }

    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public unsafe void PicksTheClassesOfTheCpu(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(6);
        using WorkerPool pool = new(2);
        foreach ((int h, int w, int classes, int height, int width) in new[] { (8, 10, 19, 64, 80), (7, 9, 11, 61, 70), (30, 20, 5, 17, 50) })
        {
            using DeviceSlice logits = new(device, CudaElement.Float32, (1, h, w, classes), 0, 1);
            // Few distinct values, so that there are many near ties.
            Doubles values = new(1, h, w, classes);
            for (int i = 0; i < values.Data.Length; i++) values.Data[i] = random.Next(4) / 3f;
            logits.Write(values.Data);
            using Slice cpu = new(1, h, w, classes);
            for (int i = 0; i < values.Data.Length; i++) cpu[0, i / classes / w, i / classes % w, i % classes] = (float)values.Data[i];
            byte[] expected = new byte[height * width];
            ArgMaxHead.Run(pool, cpu.Map, height, width, expected, default);
            Assert.Equal(expected, Run(device, logits, height, width, hasConfidence: false).Classes);
        }
    }

    [Fact]
    public void TheLowestClassWinsATie()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice logits = new(device, CudaElement.Float16, (1, 4, 5, 19));
        logits.Write([.. Enumerable.Range(0, 20 * 19).Select(i => i % 19 is 4 or 9 or 18 ? 2.0 : 1)]);
        Assert.All(Run(device, logits, 32, 40, hasConfidence: true).Classes, c => Assert.Equal(4, c));
    }

    [Fact]
    public void MovesLittleMoreThanItMust()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice logits = new(device, CudaElement.Float16, (1, 64, 128, 19));
        logits.Randomise(new Random(1));
        using CudaDeviceVariable<byte> classes = new(device.Context, 512 * 1024);
        LaunchStatistics counts = device.Count(
            ArgMaxHeadCuda.Prepare(device.Kernels, logits.Map, 512, 1024, new ByteMap(classes.DevicePointer, 1024)));
        LaunchCounts.AssertLoadsAtMost(1.25, logits.Map.Bytes, counts);
        LaunchCounts.AssertStoresAtLeast(0.9, 512 * 1024, counts);
        LaunchCounts.AssertConflictsBelow(0.05, counts);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice logits = new(device, CudaElement.Float32, (1, 4, 4, 5));
        using CudaDeviceVariable<byte> classes = new(device.Context, 64);
        ByteMap map = new(classes.DevicePointer, 8);
        Assert.Throws<ArgumentException>(() => ArgMaxHeadCuda.Prepare(device.Kernels, logits.Map with { N = 2 }, 8, 8, map));
        Assert.Throws<ArgumentException>(() => ArgMaxHeadCuda.Prepare(device.Kernels, logits.Map, 8, 9, map));
        Assert.Throws<ArgumentException>(() => ArgMaxHeadCuda.Prepare(device.Kernels, logits.Map with { C = 257, PixelStride = 257 }, 8, 8, map));
    }
}
