using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

public sealed class ConvFfmaCudaTests
{
    // Up to 2880 products, scaled so that sums stay near 1: √2880 roundings of 2^-24 typically, and a margin of 3.
    private const double Error = 1e-5;

    [Theory]
    [MemberData(nameof(KernelDevice.ArchitecturesAndTypes), MemberType = typeof(KernelDevice))]
    public void MatchesPlainLoops(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        CudaElement element = KernelDevice.Element(type);
        Random random = new(architecture + type.Length);
        // One value; the stem's three channels; whole tiles; 320 channels; ragged ends in pixels, outputs and depth; a last layer of 19 classes.
        ConvolutionCase[] cases =
        [
            new(1, 1, 1, 1, 1, 3, 2), new(1, 9, 11, 3, 32, 3, 2), new(1, 8, 16, 16, 64, 1, 1), new(2, 4, 5, 320, 12, 3, 1),
            new(1, 7, 10, 32, 19, 1, 1), new(1, 13, 9, 20, 72, 3, 1), new(2, 9, 7, 24, 48, 1, 2),
            .. Enumerable.Range(0, 5).Select(_ => new ConvolutionCase(random.Next(1, 3), random.Next(1, 12), random.Next(1, 12), random.Next(1, 40),
                random.Next(1, 80), random.Next(2) * 2 + 1, random.Next(1, 3))),
        ];
        foreach (ConvolutionCase s in cases)
        {
            bool isTable = s is { Kernel: 3, Stride: 1 } && random.Next(2) == 0, hasBias = isTable || random.Next(3) > 0;
            var relu = (ConvRelu)random.Next(3);
            (int, int, int, int) outputs = (s.N, s.OutH, s.OutW, s.Outputs);
            using DeviceSlice x = DeviceSlice.Random(random, device, element, (s.N, s.H, s.W, s.Inputs)), y = DeviceSlice.Random(random, device, element, outputs);
            using DeviceSlice other = DeviceSlice.Random(random, device, element, outputs);
            // No residual, one of its own, or the output itself.
            DeviceSlice? sum = random.Next(3) switch { 0 => null, 1 => y, _ => other };
            int depth = s.Kernel * s.Kernel * s.Inputs;
            double[] w = Values(depth * s.Outputs, 1 / Math.Sqrt(depth)), b = Values((isTable ? Conv2d.BorderCases : 1) * s.Outputs, 1);
            using CudaDeviceVariable<float> weights = device.UploadFloats(w), bias = device.UploadFloats(b);
            Doubles values = x.Randomise(random);
            Doubles? residual = sum?.Randomise(random);
            CudaLaunch launch = ConvFfmaCuda.Prepare(device.Kernels, new CudaConvolution(
                x.Map, y.Map, weights.DevicePointer, hasBias ? bias.DevicePointer : default, isTable, sum?.Map, relu, s.Kernel, s.Stride));
            device.Run(launch);
            y.AssertClose($"{s}, {launch}", s.Convolve(values, w, hasBias ? b : null, isTable, residual, relu), Error);
        }

        double[] Values(int count, double magnitude) =>
            [.. Enumerable.Range(0, count).Select(_ => (double)(float)((random.NextDouble() * 2 - 1) * magnitude))];
    }

    [Fact]
    public void MovesLittleMoreThanItMust()
    {
        // Region residualisation of stage 4 at 512x1024, in fp16.
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float16, (1, 16, 32, 128)), y = new(device, CudaElement.Float16, (1, 16, 32, 192));
        x.Randomise(new Random(1));
        using CudaDeviceVariable<float> weights = device.UploadFloats(Enumerable.Repeat(0.25, 9 * 128 * 192));
        CudaLaunch launch = ConvFfmaCuda.Prepare(
            device.Kernels, new CudaConvolution(x.Map, y.Map, weights.DevicePointer, default, false, null, ConvRelu.BeforeResidual, 3, 1));
        LaunchStatistics counts = device.Count(launch);
        LaunchCounts.AssertLoadsAtMost(1.25, x.Map.Bytes + 4L * weights.Size, counts);
        LaunchCounts.AssertStoresAtLeast(0.9, y.Map.Bytes, counts);
        LaunchCounts.AssertConflictsBelow(0.05, counts);
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float32, (1, 5, 5, 4)), y = new(device, CudaElement.Float32, (1, 3, 3, 4));
        using CudaDeviceVariable<float> weights = device.UploadFloats(new double[144]);
        CudaConvolution good = new(x.Map, y.Map, weights.DevicePointer, default, false, null, ConvRelu.None, 3, 2);
        foreach (CudaConvolution bad in new[]
        {
            good with { Kernel = 5 }, good with { Stride = 1 }, good with { Weights = default }, good with { HasBorderBias = true }, good with { Residual = x.Map },
        })
        {
            Assert.Throws<ArgumentException>(() => ConvFfmaCuda.Prepare(device.Kernels, bad));
        }
    }
}
