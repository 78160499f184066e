using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda;

/// <summary>
/// The run-time compiler for tests that need it, and the assembler. On a machine without them these tests are skipped with the reason;
/// with <c>DWRSEG_REQUIRE_NVRTC=1</c>, as in continuous integration, they fail, so that nothing goes untested unnoticed.
/// </summary>
internal static class TestNvrtc
{
    private const string Variable = "DWRSEG_REQUIRE_NVRTC";

    public static Nvrtc Instance
    {
        get
        {
            try
            {
                return Nvrtc.Instance;
            }
            catch (CudaException e)
            {
                Missing(e.Message);
                throw;
            }
        }
    }

    /// <summary>Ends a test that needs NVRTC where there is none.</summary>
    public static void Require() => _ = Instance;

    /// <summary>ptxas: the one beside the tests' own NVRTC, or a toolkit's; null where there is none.</summary>
    public static string? FindAssembler()
    {
        var folders = new List<string>();
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            folders.Add(Path.Combine(folder.FullName, ".tools", "cuda"));
        folders.AddRange(new[] { "CUDA_HOME", "CUDA_PATH" }.Select(Environment.GetEnvironmentVariable).OfType<string>());
        folders.Add("/usr/local/cuda");
        return folders.Select(folder => Path.Combine(folder, "bin", "ptxas")).FirstOrDefault(File.Exists);
    }

    /// <summary>Ends a test that lacks a tool: skipped, or failed where all are required.</summary>
    public static void Missing(string reason)
    {
        if (Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } and not "0") Assert.Fail($"{Variable} is set, but: {reason}");
        Assert.Skip(reason);
    }
}
