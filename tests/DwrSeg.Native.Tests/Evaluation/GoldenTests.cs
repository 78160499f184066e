using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Evaluation;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Tests.Oracle;
using Xunit;

namespace DwrSeg.Native.Tests.Evaluation;

/// <summary>PyTorch's own results: forward, loss, every gradient, and every parameter after one SGD step, for each variant of the network.</summary>
public sealed class GoldenTests(ITestOutputHelper output)
{
    public static TheoryData<string> Files =>
        [.. Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "golden"), "*.safetensors").Select(f => Path.GetFileName(f)!).Order()];

    [Theory]
    [MemberData(nameof(Files))]
    public void CpuBackendEqualsPyTorch(string file) => Check(file, new CpuBackend(), new PlanOptions());

    [Theory]
    [MemberData(nameof(Files))]
    public void CpuBackendEqualsPyTorch_LayerByLayerInGuardedMemory(string file) =>
        Check(file, new CpuBackend(), new PlanOptions { Fuse = Fusion.None, Guarded = true });

    // What separates the two is PyTorch's fp32 rounding alone, so this is tighter than what an fp32 backend is asked for.
    [Theory]
    [MemberData(nameof(Files))]
    public void OracleEqualsPyTorch(string file) =>
        Check(file, new OracleBackend(), new PlanOptions(), new GoldenTolerance(Logits: 2e-5, Loss: 2e-5, Gradients: 2e-4, Updated: 5e-5));

    [Fact]
    public void GoldenFilesAreThere() => Assert.True(Files.Count >= 18);

    private void Check(string file, IBackend backend, PlanOptions options, GoldenTolerance? tolerance = null)
    {
        using IBackend disposed = backend;
        using SafetensorsFile golden = SafetensorsFile.Open(Path.Combine(AppContext.BaseDirectory, "golden", file));
        foreach (GoldenError error in GoldenCheck.Run(golden, backend, options, tolerance))
        {
            output.WriteLine($"{error.Quantity}: {error.Error:g3} ({error.Tensor})");
            Assert.True(error.Passes, $"{file}: {error.Quantity} is off by {error.Error:g3} at {error.Tensor}; at most {error.Tolerance:g3} is allowed.");
        }
    }
}
