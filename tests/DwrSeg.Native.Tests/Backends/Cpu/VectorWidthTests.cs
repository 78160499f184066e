using System.Diagnostics;
using DwrSeg.Native.Tests.Cli;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cpu;

/// <summary>
/// The kernels on narrower vectors than this machine's: what a processor without AVX-512, or without AVX2, runs. The runtime decides the
/// width once for a process, so each width has processes of its own.
/// </summary>
public sealed class VectorWidthTests
{
    private static readonly Type[] s_kernelTests =
    [
        typeof(ConvolutionTests), typeof(DepthwiseConvTests), typeof(PointwiseTailTests), typeof(BatchNormTests), typeof(ElementwiseTests),
        typeof(ArgMaxHeadTests), typeof(PreprocessTests),
    ];

    public static TheoryData<string, int> Narrower => new() { { "DOTNET_EnableAVX512", 256 }, { "DOTNET_EnableAVX2", 128 } };

    [Theory]
    [MemberData(nameof(Narrower))]
    public void GoldensPass(string feature, int bits)
    {
        string[] files = [Golden("eval.safetensors"), Golden("train-odd-size.safetensors")];
        DwrsegResult result = DwrsegProcess.RunWith(Off(feature), ["check", .. files, "--device", "cpu"]).Succeeded();
        Assert.Equal("2 passed, 0 failed", result.Lines[^1]);
        AssertWidth(feature, bits);
    }

    [Fact]
    public void KernelTestsPass_WithoutAvx512()
    {
        ProcessStartInfo start = new(Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet")
        {
            RedirectStandardOutput = true, RedirectStandardInput = true,
        };
        start.ArgumentList.Add(typeof(VectorWidthTests).Assembly.Location);
        foreach (Type tests in s_kernelTests)
        {
            start.ArgumentList.Add("-class");
            start.ArgumentList.Add(tests.FullName!);
        }
        start.ArgumentList.Add("-noColor");
        foreach ((string name, string value) in Off("DOTNET_EnableAVX512")) start.Environment[name] = value;
        using Process process = Process.Start(start)!;
        process.StandardInput.Close();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, output);
        Assert.Matches(@"Total: [1-9]\d+, Errors: 0, Failed: 0", output);
    }

    // The report tells how wide vectors are, which shows that the variable did what the test needs.
    private static void AssertWidth(string feature, int bits)
    {
        DwrsegResult result = DwrsegProcess.RunWith(Off(feature), "bench", "--device", "cpu", "--size", "32x32", "--iterations", "1").Succeeded();
        Assert.Contains(result.Lines, line => line.StartsWith("device", StringComparison.Ordinal) && !line.Contains("512-bit", StringComparison.Ordinal));
        if (System.Runtime.Intrinsics.X86.Avx2.IsSupported) Assert.Contains($"{bits}-bit vectors", result.Output, StringComparison.Ordinal);
    }

    private static Dictionary<string, string> Off(string feature) => new() { [feature] = "0" };

    private static string Golden(string name) => Path.Combine(AppContext.BaseDirectory, "golden", name);
}
