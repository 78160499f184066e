using System.Text;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda;

public sealed class NvrtcTests
{
    private static readonly NvrtcTarget Ptx80 = new(new ComputeCapability(8, 0), IsPtx: true);
    private static readonly NvrtcTarget Cubin80 = new(new ComputeCapability(8, 0), IsPtx: false);

    [Fact]
    public void HeadersComeFromMemoryAndTheNameIsLowered()
    {
        CompiledKernel kernel = Compile(Ptx80);
        string ptx = Encoding.UTF8.GetString(kernel.Image);
        Assert.EndsWith("\0", ptx, StringComparison.Ordinal);
        Assert.Contains(".target sm_80", ptx, StringComparison.Ordinal);
        Assert.Contains($".entry {kernel.LoweredName}(", ptx, StringComparison.Ordinal);
        Assert.StartsWith("_Z", kernel.LoweredName, StringComparison.Ordinal);
        Assert.Equal(16, kernel.ParameterBytes);
    }

    [Fact]
    public void CubinIsAnElfFileWithTheSameNameAndParameters()
    {
        CompiledKernel cubin = Compile(Cubin80), ptx = Compile(Ptx80);
        Assert.Equal("\u007fELF", Encoding.Latin1.GetString(cubin.Image, 0, 4));
        Assert.Equal((ptx.LoweredName, ptx.ParameterBytes), (cubin.LoweredName, cubin.ParameterBytes));
    }

    [Fact]
    public void CKernelKeepsItsName()
    {
        CompiledKernel kernel = TestNvrtc.Instance.Compile("c.cu", "extern \"C\" __global__ void plain(int *x, char c, double d) { *x = c + d; }", [], "plain", [], Ptx80);
        Assert.Equal(("plain", 24), (kernel.LoweredName, kernel.ParameterBytes));
    }

    [Fact]
    public void MistakeIsReportedWithFileLineOptionsAndLog()
    {
        TestNvrtc.Require();
        var error = Assert.Throws<KernelCompilationException>(
            () => Nvrtc.Instance.Compile("wrong.cu", "__global__ void k()\n{\n    undeclared = 1;\n}\n", [], "k", ["-DWIDTH=4"], Ptx80));
        Assert.Contains("wrong.cu(3)", error.Log, StringComparison.Ordinal);
        Assert.Contains("undeclared", error.Message, StringComparison.Ordinal);
        Assert.Contains("--gpu-architecture=compute_80 -DWIDTH=4", error.Message, StringComparison.Ordinal);
        Assert.Contains(Nvrtc.Instance.Location, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void MissingHeaderAndUnknownNameAreReported()
    {
        TestNvrtc.Require();
        var header = Assert.Throws<KernelCompilationException>(
            () => Nvrtc.Instance.Compile("a.cu", "#include \"gone.cuh\"\n", [], "k", [], Ptx80));
        Assert.Contains("gone.cuh", header.Log, StringComparison.Ordinal);
        var name = Assert.Throws<KernelCompilationException>(
            () => Nvrtc.Instance.Compile("a.cu", "__global__ void k() {}", [], "other<3>", [], Ptx80));
        Assert.Contains("other", name.Log, StringComparison.Ordinal);
    }

    [Fact]
    public void ArchitectureThatTheCompilerDoesNotKnowIsAnError()
    {
        TestNvrtc.Require();
        var target = new NvrtcTarget(new ComputeCapability(1, 7), IsPtx: true);
        Assert.Contains("compute_17", Assert.Throws<KernelCompilationException>(() => Compile(target)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ManyThreadsCompileAtATime()
    {
        TestNvrtc.Require();
        byte[] expected = Compile(Ptx80).Image;
        Parallel.For(0, 8, _ => Assert.Equal(expected, Compile(Ptx80).Image));
    }

    [Theory]
    [InlineData(86, false, "--gpu-architecture=sm_86")]
    [InlineData(86, true, "--gpu-architecture=compute_86")]
    [InlineData(103, false, "--gpu-architecture=compute_90")] // newer than the compiler
    [InlineData(88, false, "--gpu-architecture=compute_86")] // between two that it knows
    public void TargetFollowsDeviceAndCompiler(int device, bool wantsPtx, string option) =>
        Assert.Equal(option, NvrtcTarget.Choose(ComputeCapability.FromNumber(device), Known(75, 80, 86, 90), new Version(12, 4), wantsPtx).Option);

    [Fact]
    public void InstructionsOfOneArchitectureHaveATargetOfTheirOwn()
    {
        var target = new NvrtcTarget(new ComputeCapability(9, 0), IsPtx: true) { IsSpecific = true };
        Assert.Equal("--gpu-architecture=compute_90a", target.Option);
        Assert.Equal("--gpu-architecture=sm_90a", (target with { IsPtx = false }).Option);
        Assert.SkipWhen(TestNvrtc.Instance.Version.Major < 12, "NVRTC knows sm_90a from 12.0 on");
        Assert.Contains(".target sm_90a", Encoding.ASCII.GetString(Compile(target).Image), StringComparison.Ordinal);
    }

    [Fact]
    public void DeviceOlderThanTheCompilerIsRefused()
    {
        var error = Assert.Throws<CudaException>(() => NvrtcTarget.Choose(new ComputeCapability(6, 1), Known(75, 80), new Version(13, 0), wantsPtx: false));
        Assert.StartsWith("NVRTC 13.0 compiles for sm_75 and newer, but the device is sm_61: install an older NVRTC", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(".visible .entry k()", 0)]
    [InlineData(".visible .entry k(\n\t.param .u64 k_param_0,\n\t.param .u8 k_param_1,\n\t.param .f64 k_param_2\n)", 24)]
    [InlineData(".visible .entry k(\n\t.param .align 8 .b8 k_param_0[44]\n)", 44)]
    [InlineData(".visible .entry k(\n\t.param .u32 k_param_0,\n\t.param .align 16 .b8 k_param_1[32]\n)", 48)]
    [InlineData(".entry kk(.param .u64 kk_param_0)\n.entry k(.param .u64 .ptr .global .align 4 k_param_0, .param .u32 k_param_1)", 12)]
    public void ParameterBytesAreReadFromPtx(string ptx, int bytes) => Assert.Equal(bytes, PtxParameters.Bytes(ptx, "k"));

    private static ComputeCapability[] Known(params int[] numbers) => [.. numbers.Select(ComputeCapability.FromNumber)];

    private static CompiledKernel Compile(NvrtcTarget target)
    {
        KernelSource source = SmallKernels.Scale;
        return TestNvrtc.Instance.Compile(
            "scale.cu", SmallKernels.Kernel, SmallKernels.Files().Headers(SmallKernels.Kernel), source.Name, source.CommandLine, target);
    }
}
