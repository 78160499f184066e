using DwrSeg.Cli;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Tests.Cuda;
using Xunit;

namespace DwrSeg.Native.Tests.Cli;

public sealed class ErrorsTests
{
    [Fact]
    public void KernelThatDoesNotCompileIsToldWithTheCompilersWords()
    {
        var target = new NvrtcTarget(new ComputeCapability(8, 0), IsPtx: true);
        var failure = Assert.Throws<KernelCompilationException>(
            () => TestNvrtc.Instance.Compile("wrong.cu", "__global__ void k() { undeclared = 1; }", [], "k", [], target));
        (string message, int exitCode) = Errors.Describe(failure);
        Assert.StartsWith("wrong.cu: k does not compile with NVRTC", message, StringComparison.Ordinal);
        Assert.Contains("undeclared", message, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Failed, exitCode);
    }

    [Fact]
    public void CudaFailureIsToldWithItsRemedy() =>
        Assert.Equal(("no memory. Use less.", ExitCode.Failed), Errors.Describe(new CudaException("no memory. Use less.", "cuMemAlloc", 2, "")));

    [Fact]
    public void FaultOfTheProgramIsCalledOne() =>
        Assert.StartsWith("internal error: KeyNotFoundException", Errors.Describe(new KeyNotFoundException()).Message, StringComparison.Ordinal);
}
