using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Tests.Cuda;
using DwrSeg.Native.Tests.Cuda.Kernels;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cuda;

/// <summary>The gradients of convolutions on the CUDA backend against the float64 oracle.</summary>
[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class CudaConvGradientTests
{
    [Theory]
    [InlineData("conv data gradient", 61)]
    [InlineData("conv data gradient", 80)]
    [InlineData("conv data gradient", 90)]
    [InlineData("conv weight gradient", 61)]
    [InlineData("conv weight gradient", 80)]
    [InlineData("conv weight gradient", 90)]
    public void MatchTheOracle(string kind, int architecture)
    {
        using IBackend backend = TestDriver.OpenBackend(architecture, CudaElement.Float32);
        for (int seed = 0; seed < 6; seed++)
        {
            BackendComparison.Check(
                backend, RandomLayer.Create(kind, seed), seed, BackendComparison.SingleLayer, new PlanOptions { Guarded = true, Fuse = Fusion.None });
            BackendComparison.Check(backend, RandomLayer.Create(kind, seed + 1000), seed, BackendComparison.SingleLayer);
        }
    }
}
