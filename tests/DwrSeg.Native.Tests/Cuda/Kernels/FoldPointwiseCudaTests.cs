using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
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
}
