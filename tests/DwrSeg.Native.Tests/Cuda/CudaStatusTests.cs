using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda;

public sealed class CudaStatusTests
{
    [Fact]
    public void EveryStatusButSuccessHasOneRowWithNameAndRemedy()
    {
        CUresult[] rows = [.. CudaStatus.Rows.Select(r => r.Status).Order()];
        Assert.Equal([.. Enum.GetValues<CUresult>().Where(s => s != CUresult.Success).Order()], rows);
        Assert.All(CudaStatus.Rows, row =>
        {
            Assert.StartsWith("CUDA_ERROR_", row.Name, StringComparison.Ordinal);
            Assert.EndsWith(".", row.Remedy, StringComparison.Ordinal);
            // NoBinaryForGpu ↔ NO_BINARY_FOR_GPU: a row can't carry another's name.
            Assert.Equal(row.Status.ToString().ToUpperInvariant(), row.Name["CUDA_ERROR_".Length..].Replace("_", "", StringComparison.Ordinal));
        });
    }

    [Fact]
    public void FailureNamesCallStatusExplanationAndRemedy()
    {
        using var driver = new EmulatedDriver(80);
        using var context = new CudaContext(driver);
        var error = Assert.Throws<CudaException>(() =>
        {
            using ContextScope scope = context.Enter();
            CudaStatus.Check(driver, driver.MemFree(new CUdeviceptr(12345)));
        });
        Assert.Equal(("cuMemFree", (int)CUresult.InvalidValue, "CUDA_ERROR_INVALID_VALUE"), (error.Call, error.Status, error.StatusName));
        Assert.StartsWith("cuMemFree failed: CUDA_ERROR_INVALID_VALUE (1), ", error.Message, StringComparison.Ordinal);
        Assert.False(error.IsSticky);
    }

    [Fact]
    public void WantOfMemoryTellsNeededAndFree()
    {
        using var driver = new EmulatedDriver(80);
        using var context = new CudaContext(driver);
        (ulong free, ulong total) = context.MemoryInfo;
        long size = (long)(total / sizeof(float)) + (1 << 20);
        var error = Assert.Throws<CudaException>(() => new CudaDeviceVariable<float>(context, size));
        Assert.Equal((int)CUresult.OutOfMemory, error.Status);
        Assert.Contains($"{(total / 1048576.0) + 4:0.#} MiB needed; {free / 1048576.0:0.#} MiB of {total / 1048576.0:0.#} MiB free", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void UnknownStatusKeepsItsNumber()
    {
        using var driver = new EmulatedDriver(80);
        CudaException error = CudaStatus.Failure(driver, (CUresult)4711, "cuStreamQuery");
        Assert.Equal(4711, error.Status);
        Assert.Contains("4711", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(700)]
    [InlineData(716)]
    [InlineData(719)]
    public void LostContextIsSticky(int status)
    {
        using var driver = new EmulatedDriver(80);
        CudaException error = CudaStatus.Failure(driver, (CUresult)status, "cuStreamSynchronize");
        Assert.True(error.IsSticky);
        Assert.Contains("CUDA_LAUNCH_BLOCKING=1", error.Message, StringComparison.Ordinal);
    }
}
