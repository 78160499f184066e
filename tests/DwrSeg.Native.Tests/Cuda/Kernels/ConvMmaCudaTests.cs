using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

public sealed class ConvMmaCudaTests
{
    // Products of 16-bit values are exact in fp32; up to 2880 of them, scaled so that sums stay near 1, in an order of the device's choice.
    private const double Error = 1e-5;

    /// <summary>Types and architectures that have the instruction.</summary>
    public static IEnumerable<TheoryDataRow<int, string>> ArchitecturesAndTypes =>
        KernelDevice.ArchitecturesAndTypes.Where(
            r => r.Data.Item2 != "f32" && KernelDevice.On(r.Data.Item1).Context.Device.ComputeCapability >= new ComputeCapability(8, 0));

    [Theory]
    [MemberData(nameof(ArchitecturesAndTypes))]
    public void MatchesPlainLoops(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        CudaElement element = KernelDevice.Element(type);
        Random random = new(architecture + type.Length);
        // One pixel; whole tiles; ragged ends in pixels, outputs and depth (8 and 24 are no multiples of 32); 320 channels; larger tiles.
        ConvolutionCase[] cases =
        [
            new(1, 1, 1, 8, 4, 3, 2), new(1, 8, 16, 32, 64, 1, 1), new(1, 13, 9, 24, 72, 3, 1), new(2, 4, 5, 320, 12, 3, 1),
            new(2, 9, 7, 24, 48, 1, 2), new(1, 64, 70, 8, 104, 3, 1), new(1, 90, 100, 8, 128, 1, 1),
            .. Enumerable.Range(0, 5).Select(_ => new ConvolutionCase(random.Next(1, 3), random.Next(1, 12), random.Next(1, 12),
                8 * random.Next(1, 8), 4 * random.Next(1, 20), random.Next(2) * 2 + 1, random.Next(1, 3))),
        ];
        foreach (ConvolutionCase s in cases)
        {
            bool isTable = s is { Kernel: 3, Stride: 1 } && random.Next(2) == 0, hasBias = isTable || random.Next(3) > 0;
            var relu = (ConvRelu)random.Next(3);
            (int, int, int, int) outputs = (s.N, s.OutH, s.OutW, s.Outputs);
            using DeviceSlice x = new(device, element, (s.N, s.H, s.W, s.Inputs), random.Next(3) * 8, random.Next(3) * 8 + (8 - s.Inputs % 8) % 8);
            using DeviceSlice y = new(device, element, outputs, random.Next(3) * 4, random.Next(3) * 4);
            using DeviceSlice other = new(device, element, outputs, random.Next(3) * 4, random.Next(3) * 4);
            using DeviceSlice weights = new(device, element, (1, 1, 1, s.Depth * s.Outputs));
            // No residual, one of its own, or the output itself.
            DeviceSlice? sum = random.Next(3) switch { 0 => null, 1 => y, _ => other };
            double[] w = weights.Randomise(random, 1 / Math.Sqrt(s.Depth)).Data;
            double[] b = [.. Enumerable.Range(0, (isTable ? Conv2d.BorderCases : 1) * s.Outputs).Select(_ => (double)(float)(random.NextDouble() * 2 - 1))];
            using CudaDeviceVariable<float> bias = device.UploadFloats(b);
            Doubles values = x.Randomise(random);
            Doubles? residual = sum?.Randomise(random);
            CudaLaunch launch = ConvMmaCuda.Prepare(device.Kernels, new CudaConvolution(
                x.Map, y.Map, weights.Map.Data, hasBias ? bias.DevicePointer : default, isTable, sum?.Map, relu, s.Kernel, s.Stride));
            device.Run(launch);
            y.AssertClose($"{s}, {launch}", s.Convolve(values, w, hasBias ? b : null, isTable, residual, relu), Error);
        }
    }

    [Theory]
    [InlineData(32, 64, 128, 128)]
    [InlineData(16, 32, 128, 192)]
    public void MovesLittleMoreThanItMust(int height, int width, int inputs, int outputs)
    {
        // Region residualisation of stages 3 and 4 at 512x1024, in fp16.
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float16, (1, height, width, inputs)), y = new(device, CudaElement.Float16, (1, height, width, outputs));
        using DeviceSlice weights = new(device, CudaElement.Float16, (1, 1, 1, 9 * inputs * outputs));
        x.Randomise(new Random(1));
        weights.Randomise(new Random(2));
        LaunchStatistics counts = device.Count(ConvMmaCuda.Prepare(
            device.Kernels, new CudaConvolution(x.Map, y.Map, weights.Map.Data, default, false, null, ConvRelu.BeforeResidual, 3, 1)));
        LaunchCounts.AssertLoadsAtMost(1.25, x.Map.Bytes + weights.Map.Bytes, counts);
        LaunchCounts.AssertStoresAtLeast(0.9, y.Map.Bytes, counts);
        LaunchCounts.AssertConflictsBelow(0.05, counts);
    }

    [Fact]
    public void WhatItDoesNotTakeIsRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice x = new(device, CudaElement.Float16, (1, 4, 4, 8)), y = new(device, CudaElement.Float16, (1, 4, 4, 4));
        using DeviceSlice odd = new(device, CudaElement.Float16, (1, 4, 4, 4), 1), single = new(device, CudaElement.Float32, (1, 4, 4, 8));
        CudaConvolution good = new(x.Map, y.Map, x.Map.Data, default, false, null, ConvRelu.None, 1, 1);
        Assert.True(ConvMmaCuda.Takes(good, new ComputeCapability(8, 0)));
        Assert.False(ConvMmaCuda.Takes(good, new ComputeCapability(7, 5)));
        foreach (CudaConvolution bad in new[]
        {
            good with { Y = odd.Map }, good with { X = x.Map.Slice(0, 4) }, good with { X = single.Map, Y = single.Map }, good with { Residual = odd.Map },
        })
        {
            Assert.Throws<ArgumentException>(() => ConvMmaCuda.Prepare(device.Kernels, bad));
        }
    }
}
