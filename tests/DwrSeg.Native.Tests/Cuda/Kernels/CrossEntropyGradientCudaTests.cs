using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class CrossEntropyGradientCudaTests
{
    private const byte Ignore = 255;
    private const float DLoss = 0.7f;

    private static double[] Softmax(ReadOnlySpan<double> logits)
    {
        double[] values = logits.ToArray();
        double max = values.Max(), sum = values.Sum(v => Math.Exp(v - max));
        return [.. values.Select(v => Math.Exp(v - max) / sum)];
    }

    private static void AddGradient(Doubles logits, byte[] labels, float[] weights, Doubles to)
    {
        for (int p = 0; p < labels.Length; p++)
        {
            if (weights[p] == 0) continue;
            double[] probabilities = Softmax(logits.Data.AsSpan(p * logits.C, logits.C));
            for (int c = 0; c < logits.C; c++) to.Data[p * logits.C + c] += weights[p] * DLoss * (probabilities[c] - (labels[p] == c ? 1 : 0));
        }
    }

    [Theory]
    [MemberData(nameof(KernelDevice.Architectures), MemberType = typeof(KernelDevice))]
    public void MatchesPlainLoops(int architecture)
    {
        KernelDevice device = KernelDevice.On(architecture);
        Random random = new(architecture);
        (int N, int H, int W, int C)[] cases =
        [
            (1, 1, 1, 1), (1, 1, 1, 2), (2, 7, 9, 11), (1, 13, 17, 19), (1, 4, 4, 33), (1, 3, 3, 255),
            .. Enumerable.Range(0, 4).Select(_ => (random.Next(1, 3), random.Next(1, 30), random.Next(1, 30), random.Next(1, 40))),
        ];
        foreach (var s in cases)
        foreach (bool accumulate in new[] { false, true })
        {
            using DeviceSlice logits = DeviceSlice.Random(random, device, CudaElement.Float32, s);
            using DeviceSlice gradient = DeviceSlice.Random(random, device, CudaElement.Float32, s);
            int pixels = s.N * s.H * s.W;
            byte[] labels = [.. Enumerable.Range(0, pixels).Select(_ => random.Next(5) == 0 ? Ignore : (byte)random.Next(s.C))];
            float[] weights = [.. labels.Select(l => l == Ignore || random.Next(3) == 0 ? 0 : random.NextSingle())];
            Doubles values = logits.Randomise(random, 8), expected = accumulate ? gradient.Randomise(random) : new Doubles(s.N, s.H, s.W, s.C);
            AddGradient(values, labels, weights, expected);
            using CudaDeviceVariable<byte> l = device.Upload<byte>(labels);
            using CudaDeviceVariable<float> w = device.Upload<float>(weights), d = device.Upload<float>([DLoss]);
            CudaLaunch launch = CrossEntropyGradientCuda.Prepare(
                device.Kernels, logits.Map, l.DevicePointer, w.DevicePointer, d.DevicePointer, gradient.Map, accumulate);
            device.Run(launch);
            // Of a probability about ten roundings: the largest exponent, 16, is rounded, and its power, their sum, two products.
            gradient.AssertClose($"{s}, {launch}", expected, 1e-6);
        }
    }

    [Fact]
    public void APixelOfWeightZeroHasNoGradient_WhateverItsLogitsAndLabel()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice logits = new(device, CudaElement.Float32, (1, 1, 5, 11)), gradient = new(device, CudaElement.Float32, (1, 1, 5, 11));
        Doubles values = new(1, 1, 5, 11);
        Array.Fill(values.Data, double.NaN);
        for (int c = 0; c < 11; c++) values[0, 0, 3, c] = c;
        logits.Write(values.Data);
        using CudaDeviceVariable<byte> labels = device.Upload<byte>([0, 17, Ignore, 2, 254]);
        using CudaDeviceVariable<float> weights = device.Upload<float>([0, 0, 0, 1, 0]), dLoss = device.Upload<float>([1f]);
        device.Run(CrossEntropyGradientCuda.Prepare(
            device.Kernels, logits.Map, labels.DevicePointer, weights.DevicePointer, dLoss.DevicePointer, gradient.Map, accumulate: false));
        Doubles found = gradient.Read("weights of zero");
        for (int p = 0; p < 5; p++)
        for (int c = 0; c < 11; c++)
            Assert.Equal(p == 3, found[0, 0, p, c] != 0);
    }

    [Fact]
    public void LargeLogitsStayFinite()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice logits = new(device, CudaElement.Float32, (1, 1, 2, 3)), gradient = new(device, CudaElement.Float32, (1, 1, 2, 3));
        logits.Write([1e30, 1e30, -1e30, 3e4, double.NegativeInfinity, -3e4]);
        using CudaDeviceVariable<byte> labels = device.Upload<byte>([1, 1]);
        using CudaDeviceVariable<float> weights = device.Upload<float>([1, 1]), dLoss = device.Upload<float>([1f]);
        device.Run(CrossEntropyGradientCuda.Prepare(
            device.Kernels, logits.Map, labels.DevicePointer, weights.DevicePointer, dLoss.DevicePointer, gradient.Map, accumulate: false));
        Assert.Equal([0.5, -0.5, 0, 1, -1, 0], gradient.Read("large logits").Data);
    }

    [Fact]
    public void MovesWhatItMust_AndSkipsWhatHasNoWeight()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice logits = new(device, CudaElement.Float32, (1, 64, 128, 19)), gradient = new(device, CudaElement.Float32, (1, 64, 128, 19));
        logits.Randomise(new Random(1));
        int pixels = 64 * 128;
        using CudaDeviceVariable<byte> labels = device.Upload<byte>(new byte[pixels]);
        using CudaDeviceVariable<float> dLoss = device.Upload<float>([1f]);
        // A sixteenth of the pixels in one place, as hard pixels lie.
        foreach (int weighted in new[] { pixels, pixels / 16 })
        {
            using CudaDeviceVariable<float> weights = device.Upload<float>([.. Enumerable.Range(0, pixels).Select(p => p < weighted ? 1f : 0)]);
            LaunchStatistics counts = device.Count(CrossEntropyGradientCuda.Prepare(
                device.Kernels, logits.Map, labels.DevicePointer, weights.DevicePointer, dLoss.DevicePointer, gradient.Map, accumulate: false));
            LaunchCounts.AssertLoadsAtMost(1.01, weighted * (19L * 4 + 1) + pixels * 4L, counts);
            // Eight classes of a pixel of 76 bytes seldom lie in one sector; neighbouring stores fill them together, in the L2.
            LaunchCounts.AssertStoresAtLeast(0.4, gradient.Map.Bytes, counts);
        }
    }

    [Fact]
    public void MisfitsAreRefused()
    {
        KernelDevice device = KernelDevice.Usual;
        using DeviceSlice logits = new(device, CudaElement.Float32, (1, 5, 5, 8)), narrow = new(device, CudaElement.Float32, (1, 5, 5, 7));
        using DeviceSlice half = new(device, CudaElement.Float16, (1, 5, 5, 8));
        using CudaDeviceVariable<float> values = device.Upload<float>(new float[25]);
        var at = values.DevicePointer;
        Assert.Throws<ArgumentException>(() => CrossEntropyGradientCuda.Prepare(device.Kernels, logits.Map, at, at, at, narrow.Map, false));
        Assert.Throws<ArgumentException>(() => CrossEntropyGradientCuda.Prepare(device.Kernels, half.Map, at, at, at, logits.Map, false));
        Assert.Throws<ArgumentException>(() => CrossEntropyGradientCuda.Prepare(device.Kernels, logits.Map, default, at, at, logits.Map, false));
        Assert.Throws<ArgumentException>(() => CrossEntropyGradientCuda.Prepare(device.Kernels, logits.Map, at, at + 2, at, logits.Map, false));
    }
}
