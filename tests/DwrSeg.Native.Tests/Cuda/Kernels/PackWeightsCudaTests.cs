using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class PackWeightsCudaTests
{
    [Theory]
    [MemberData(nameof(KernelDevice.ArchitecturesAndTypes), MemberType = typeof(KernelDevice))]
    public void MatchesPlainLoops(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        CudaElement element = KernelDevice.Element(type);
        Random random = new(architecture + type.Length);
        (WeightLayout Layout, int Outputs, int Taps, int Inputs)[] cases =
        [
            (WeightLayout.Tiles(64, 64), 1, 1, 1), (WeightLayout.Tiles(32, 32), 19, 9, 13), (WeightLayout.Tiles(192, 64), 200, 9, 70),
            (WeightLayout.Tiles(64, 64, parts: 3), 70, 1, 200), (WeightLayout.Tiles(8, 32), 8, 1, 320), (WeightLayout.Columns, 1, 1, 1),
            (WeightLayout.Columns, 19, 9, 13), (WeightLayout.Columns, 320, 1, 7), (WeightLayout.Image, 1, 9, 3), (WeightLayout.Image, 96, 9, 3),
        ];
        foreach (var c in cases)
        {
            double[] plain = [.. Enumerable.Range(0, c.Outputs * c.Taps * c.Inputs).Select(_ => (double)(float)(random.NextDouble() * 2 - 1))];
            using CudaDeviceVariable<float> weights = device.UploadFloats(plain);
            Doubles expected = new(1, 1, 1, checked((int)c.Layout.ElementsOf(c.Outputs, c.Taps, c.Inputs)));
            using DeviceSlice packed = new(device, element, (1, 1, 1, expected.C));
            for (int o = 0; o < c.Outputs; o++)
            for (int tap = 0; tap < c.Taps; tap++)
            for (int i = 0; i < c.Inputs; i++)
                expected.Data[Place(c, o, tap, i)] = plain[(o * c.Taps + tap) * c.Inputs + i];
            device.Run(PackWeightsCuda.Prepare(
                device.Kernels, weights.DevicePointer, packed.Map.Data, element, c.Layout, c.Outputs, c.Taps, c.Inputs));
            packed.AssertClose(c.ToString(), expected, 0);
        }
    }

    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void PointsMatchTheTransformsMatrices(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture);
        double[,] g = { { 1, 0, 0 }, { 0.5, 0.5, 0.5 }, { 0.5, -0.5, 0.5 }, { 0, 0, 1 } };
        foreach ((int outputs, int inputs, int rows) in new[] { (1, 1, 64), (19, 13, 32), (70, 16, 64), (64, 40, 32) })
        {
            WeightLayout layout = WeightLayout.Points(rows, depth: 8);
            double[] w = [.. Enumerable.Range(0, outputs * 9 * inputs).Select(_ => (double)(float)(random.NextDouble() * 2 - 1))];
            using CudaDeviceVariable<float> weights = device.UploadFloats(w);
            Doubles expected = new(1, 1, 1, checked((int)layout.ElementsOf(outputs, 9, inputs)));
            using DeviceSlice packed = new(device, CudaElement.Float32, (1, 1, 1, expected.C));
            int chunks = (inputs + 7) / 8;
            for (int o = 0; o < outputs; o++)
            for (int i = 0; i < inputs; i++)
            for (int point = 0; point < 16; point++)
            {
                double sum = 0;
                for (int tap = 0; tap < 9; tap++) sum += g[point / 4, tap / 3] * w[(o * 9 + tap) * inputs + i] * g[point % 4, tap % 3];
                expected.Data[(((o / rows * chunks + i / 8) * 16 + point) * 8 + i % 8) * rows + o % rows] = sum;
            }
            device.Run(PackWeightsCuda.Prepare(
                device.Kernels, weights.DevicePointer, packed.Map.Data, CudaElement.Float32, layout, outputs, 9, inputs));
            // Eight roundings of values up to 9 / 4.
            packed.AssertClose($"{outputs} of {inputs}, {rows}", expected, 8 * 2.25 * Math.ScaleB(1, -24));
        }
    }

    [Fact]
    public void MovesWhatItMust()
    {
        // The weights of a Region Residualization of stage 4, for tensor cores.
        KernelDevice device = KernelDevice.Usual;
        using CudaDeviceVariable<float> weights = device.UploadFloats(Enumerable.Range(0, 192 * 9 * 128).Select(i => (double)i % 7));
        using CudaDeviceVariable<byte> packed = new(device.Context, 2 * WeightLayout.Tiles(64, 64).ElementsOf(192, 9, 128));
        CudaLaunch launch = PackWeightsCuda.Prepare(
            device.Kernels, weights.DevicePointer, packed.DevicePointer, CudaElement.Float16, WeightLayout.Tiles(64, 64), 192, 9, 128);
        LaunchStatistics counts = device.Count(launch);
        LaunchCounts.AssertLoadsAtMost(1, 4 * weights.Size, counts);
        LaunchCounts.AssertStoresAtLeast(1, packed.Size, counts);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using CudaDeviceVariable<float> memory = new(device.Context, 1024);
        void Refused(WeightLayout layout, int outputs, int taps, int inputs, ulong offset, CudaElement element = CudaElement.Float32) =>
            Assert.Throws<ArgumentException>(() => PackWeightsCuda.Prepare(
                device.Kernels, memory.DevicePointer, memory.DevicePointer + offset, element, layout, outputs, taps, inputs));
        Refused(WeightLayout.Columns, 1, 4, 1, 0);
        Refused(WeightLayout.Columns, 0, 9, 1, 0);
        Refused(WeightLayout.Image, 8, 9, 4, 0);
        Refused(WeightLayout.Points(64, 8), 1, 1, 1, 0);
        Refused(WeightLayout.Points(64, 8), 1, 9, 1, 0, CudaElement.Float16);
        Refused(WeightLayout.Columns, 1, 9, 1, 4);
    }

    // Where a weight stands by the contract at the head of the kernel's file.
    private static int Place((WeightLayout Layout, int Outputs, int Taps, int Inputs) c, int o, int tap, int i)
    {
        if (c.Layout is { Order: WeightOrder.Tiles } l)
        {
            int chunks = (c.Inputs + l.Depth * l.Parts - 1) / (l.Depth * l.Parts) * l.Parts, row = o % l.Rows, place = i % l.Depth;
            int key = l.Depth == 64 ? row % 8 : row / 2 % 4;
            return ((o / l.Rows * chunks + i / l.Depth) * c.Taps + tap) * l.Rows * l.Depth + row * l.Depth + (place / 8 ^ key) * 8 + place % 8;
        }
        if (c.Layout.Order == WeightOrder.Columns) return (tap * c.Inputs + i) * ((c.Outputs + 3) / 4 * 4) + o;
        int line = tap / 3, value = 3 * (tap % 3) + i;
        return 32 * o + (value < 8 ? 8 * line + value : 24 + 2 * line);
    }
}
