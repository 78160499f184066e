using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using DwrSeg.PtxEmulator;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class FoldPointwiseCudaTests
{
    [Theory]
    [MemberData(nameof(KernelDevice.ArchitecturesAndTypes), MemberType = typeof(KernelDevice))]
    public void MatchesPlainLoops(int architecture, string type)
    {
        KernelDevice device = KernelDevice.On(architecture);
        CudaElement element = KernelDevice.Element(type);
        Random random = new(architecture);
        foreach ((int outputs, int middle, int perOutput) in new[] { (1, 1, 1), (32, 32, 27), (5, 7, 300) })
        {
            double[] a = Values(middle * perOutput), biasA = Values(middle), b = Values(outputs * middle), biasB = Values(outputs);
            using CudaDeviceVariable<float> weightsA = device.UploadFloats(a), vectorA = device.UploadFloats(biasA);
            using CudaDeviceVariable<float> weightsB = device.UploadFloats(b), vectorB = device.UploadFloats(biasB);
            using DeviceSlice weights = new(device, element, (1, 1, 1, outputs * perOutput)), bias = new(device, CudaElement.Float32, (1, 1, 1, outputs));
            device.Run(FoldPointwiseCuda.Prepare(device.Kernels, new CudaPointwiseFold(outputs, middle, perOutput, element)
            {
                WeightsA = weightsA.DevicePointer, BiasA = vectorA.DevicePointer, WeightsB = weightsB.DevicePointer,
                BiasB = vectorB.DevicePointer, FoldedWeights = weights.Map.Data, FoldedBias = bias.Map.Data,
            }));
            Doubles expected = new(1, 1, 1, outputs * perOutput), expectedBias = new(1, 1, 1, outputs);
            for (int o = 0; o < outputs; o++)
            {
                expectedBias.Data[o] = biasB[o];
                for (int m = 0; m < middle; m++)
                {
                    expectedBias.Data[o] += b[o * middle + m] * biasA[m];
                    for (int i = 0; i < perOutput; i++) expected.Data[o * perOutput + i] += b[o * middle + m] * a[m * perOutput + i];
                }
            }
            // Sums in fp64, rounded once; to 16 bits by way of fp32, which moves a tie by at most an ulp of fp32.
            weights.AssertClose($"{outputs}x{middle}x{perOutput}", expected, 1e-6);
            bias.AssertClose($"{outputs}x{middle}x{perOutput}, bias", expectedBias, 1e-12);
        }

        double[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => (double)(float)(random.NextDouble() * 2 - 1))];
    }

    [Fact]
    public void MovesLittleMoreThanItMust()
    {
        // The stem: 3 to 32 channels, and the 1x1 convolution to 64 behind it.
        KernelDevice device = KernelDevice.Usual;
        using CudaDeviceVariable<float> memory = device.UploadFloats(Enumerable.Range(0, 8192).Select(i => (double)i % 5));
        using CudaDeviceVariable<float> folded = new(device.Context, 64 * 28);
        CudaLaunch launch = FoldPointwiseCuda.Prepare(device.Kernels, new CudaPointwiseFold(64, 32, 27, CudaElement.Float32)
        {
            WeightsA = memory.DevicePointer, BiasA = memory.DevicePointer + 4096, WeightsB = memory.DevicePointer + 8192,
            BiasB = memory.DevicePointer + 20480, FoldedWeights = folded.DevicePointer, FoldedBias = folded.DevicePointer + 64 * 27 * 4,
        });
        LaunchStatistics counts = device.Count(launch);
        LaunchCounts.AssertLoadsAtMost(1.01, launch.Bytes - 4 * folded.Size, counts);
        // A row of 27 weights starts and ends within a sector, and the biases are stored one by one.
        LaunchCounts.AssertStoresAtLeast(0.6, 4 * folded.Size, counts);
        LaunchCounts.AssertConflictsBelow(0.05, counts);
    }

    [Fact]
    public void TypeThatTheDeviceHasNotIsRefused()
    {
        Assert.SkipWhen(KernelDevice.IsReal, "needs an emulated sm_75");
        KernelDevice device = KernelDevice.On(75);
        Assert.Contains("has no bf16 kernels", Assert.Throws<ArgumentException>(
            () => FoldPointwiseCuda.Prepare(device.Kernels, new CudaPointwiseFold(1, 1, 1, CudaElement.BFloat16)
            {
                WeightsA = default, BiasA = default, WeightsB = default, BiasB = default, FoldedWeights = default, FoldedBias = default,
            })).Message, StringComparison.Ordinal);
    }
}
