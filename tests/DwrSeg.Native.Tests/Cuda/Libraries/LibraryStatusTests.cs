using System.Runtime.CompilerServices;
using DwrSeg.Native.Cuda.Libraries;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Libraries;

public sealed class LibraryStatusTests
{
    [Theory]
    [InlineData(8, 9, "CUDNN_STATUS_NOT_SUPPORTED", "Refusal")]
    [InlineData(8, 3, "CUDNN_STATUS_BAD_PARAM", "Objection")]
    [InlineData(8, 6, "CUDNN_STATUS_ARCH_MISMATCH", "Refusal")]
    [InlineData(8, 2, "CUDNN_STATUS_ALLOC_FAILED", "Failure")]
    [InlineData(8, 8, "CUDNN_STATUS_EXECUTION_FAILED", "Failure")]
    [InlineData(8, 3000, "unknown status 3000", "Failure")]
    [InlineData(9, 3000, "CUDNN_STATUS_NOT_SUPPORTED", "Refusal")]
    [InlineData(9, 3004, "CUDNN_STATUS_NOT_SUPPORTED", "Refusal")] // _LAYOUT
    [InlineData(9, 2002, "CUDNN_STATUS_BAD_PARAM", "Objection")] // _NULL_POINTER
    [InlineData(9, 4004, "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", "Failure")]
    [InlineData(9, 5003, "CUDNN_STATUS_EXECUTION_FAILED", "Failure")] // _CUDART
    [InlineData(9, 9, "unknown status 9", "Failure")]
    public void CudnnStatusIsNamedByItsVersion(int major, int status, string name, string answer)
    {
        using var driver = new EmulatedDriver(80);
        var cudnn = new CudnnDouble(driver, major: major);
        DwrSeg.Native.Cuda.CudaException error = CudnnStatus.Failure(cudnn, status, "cudnnSetStream", "a stream");
        Assert.Equal((name, status, "cudnnSetStream"), (error.StatusName, error.Status, error.Call));
        Assert.StartsWith($"cudnnSetStream (a stream) failed: {name} ({status}), ", error.Message, StringComparison.Ordinal);
        Assert.Contains($"cuDNN {major}.1.0 is {cudnn.Location}", error.Message, StringComparison.Ordinal);
        Assert.Equal(answer, error.Answer.ToString());
        // Strides that a version does not take are no fault of the caller's.
        LibraryAnswer ofSlices = CudnnStatus.Failure(cudnn, status, "cudnnSetStream", ofSlices: true).Answer;
        Assert.Equal(answer == "Objection" ? "Refusal" : answer, ofSlices.ToString());
    }

    [Theory]
    [InlineData(15, "CUBLAS_STATUS_NOT_SUPPORTED", "Refusal")]
    [InlineData(8, "CUBLAS_STATUS_ARCH_MISMATCH", "Refusal")]
    [InlineData(7, "CUBLAS_STATUS_INVALID_VALUE", "Objection")]
    [InlineData(13, "CUBLAS_STATUS_EXECUTION_FAILED", "Failure")]
    [InlineData(2, "unknown status 2", "Failure")]
    public void CublasLtStatusIsNamed(int status, string name, string answer)
    {
        using var driver = new EmulatedDriver(80);
        DwrSeg.Native.Cuda.CudaException error = CublasLtStatus.Failure(new CublasLtDouble(driver), status, "cublasLtMatmul");
        Assert.Equal((name, status), (error.StatusName, error.Status));
        Assert.Contains("--conv native", error.Message, StringComparison.Ordinal);
        Assert.Equal(answer, error.Answer.ToString());
    }

    [Fact]
    public void AnAlgorithmThatIsCheckedMayBeForAnotherProduct()
    {
        using var driver = new EmulatedDriver(80);
        Assert.Equal(LibraryAnswer.Refusal, CublasLtStatus.Failure(new CublasLtDouble(driver), 7, "cublasLtMatmulAlgoCheck").Answer);
    }

    [Theory]
    [InlineData(8, 2, true)]
    [InlineData(9, 4004, true)]
    [InlineData(9, 4003, false)] // the host's
    [InlineData(9, 2, false)]
    public void MemoryMayBeShortForCudnn(int major, int status, bool isShort)
    {
        using var driver = new EmulatedDriver(80);
        Assert.Equal(isShort, MemoryShortage.Is(CudnnStatus.Failure(new CudnnDouble(driver, major: major), status, "cudnnCreate")));
    }

    [Fact]
    public void MemoryMayBeShortForCublasLtAndTheDriver()
    {
        using var driver = new EmulatedDriver(80);
        var cublasLt = new CublasLtDouble(driver);
        Assert.True(MemoryShortage.Is(CublasLtStatus.Failure(cublasLt, 3, "cublasLtCreate")));
        Assert.False(MemoryShortage.Is(CublasLtStatus.Failure(cublasLt, 2, "cublasLtCreate")));
        Assert.True(MemoryShortage.Is(DwrSeg.Native.Cuda.CudaStatus.Failure(driver, DwrSeg.Native.Cuda.Driver.CUresult.OutOfMemory, "cuMemAlloc")));
    }

    [Fact]
    public void EveryStatusHasOneRowAndARemedy()
    {
        foreach (Version version in new[] { new Version(8, 9), new Version(9, 1) })
        {
            Assert.Equal(CudnnStatus.Rows(version).Count, CudnnStatus.Rows(version).DistinctBy(r => r.Number).Count());
            Assert.All(CudnnStatus.Rows(version), r => Assert.NotEqual("", r.Remedy));
        }
        Assert.Equal(CublasLtStatus.Rows.Length, CublasLtStatus.Rows.DistinctBy(r => r.Number).Count());
    }

    [Fact]
    public void CheckNamesTheCall()
    {
        using var driver = new EmulatedDriver(80);
        var cudnn = new CudnnDouble(driver);
        var cublasLt = new CublasLtDouble(driver);
        Assert.Equal("cudnnDestroy", Assert.Throws<DwrSeg.Native.Cuda.CudaException>(() => CudnnStatus.Check(cudnn, cudnn.Destroy(1))).Call);
        Assert.Equal("cublasLtDestroy", Assert.Throws<DwrSeg.Native.Cuda.CudaException>(() => CublasLtStatus.Check(cublasLt, cublasLt.Destroy(1))).Call);
    }

    // Sizes that cudnn.h's and cublasLt.h's declarations give on 64-bit systems: the libraries write arrays of these.
    [Fact]
    public void ResultsHaveTheLibrariesSizes() => Assert.Equal(
        (48, 96, 64), (Unsafe.SizeOf<CudnnAlgorithmPerformance>(), Unsafe.SizeOf<CublasLtHeuristic>(), Unsafe.SizeOf<CublasLtAlgorithm>()));
}
