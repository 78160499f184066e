using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Evaluation;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Tests.Cuda;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cuda;

/// <summary>Whole training steps of the CUDA backend: against PyTorch's recorded ones and, of random networks, the float64 oracle.</summary>
[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class CudaTrainingTests(ITestOutputHelper output)
{
    public static TheoryData<string> Goldens =>
        [.. Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "golden"), "train*.safetensors").Select(f => Path.GetFileName(f)!).Order()];

    [Theory]
    [MemberData(nameof(Goldens))]
    public void PyTorchsStep(string file) => Check(80, file);

    [Theory]
    [InlineData(61)]
    [InlineData(75)]
    [InlineData(90)]
    public void PyTorchsStep_OnOtherArchitectures(int architecture) => Check(architecture, "train.safetensors");

    [Fact]
    public void PyTorchsStep_LayerByLayerInGuardedMemory() => Check(80, "train.safetensors", new PlanOptions { Fuse = Fusion.None, Guarded = true });

    [Fact]
    public void WhatIsTimedChangesNothing()
    {
        Assert.SkipWhen(TestDriver.IsReal, "plants a clock in the emulator");
        TestNvrtc.Require();
        // Choosing kernels, and whether launches overlap, runs steps that nobody asked for.
        using var driver = new EmulatedDriver(new EmulatedDriverOptions { Devices = [DeviceModel.Of(90)], LaunchMilliseconds = _ => 1 });
        using var backend = new CudaBackend(
            "emulated", driver, 0, CudaElement.Float32, wantsPtx: true, choices: new TimedChoices(null) { Repetitions = 1, Rounds = 1 });
        Check(backend, "train.safetensors");
    }

    [Fact]
    public void APlanThatFailsInItsMakingChangesNothing()
    {
        Assert.SkipWhen(TestDriver.IsReal, "plants a clock in the emulator");
        TestNvrtc.Require();
        using var emulator = new EmulatedDriver(new EmulatedDriverOptions { Devices = [DeviceModel.Of(90)], LaunchMilliseconds = _ => 1 });
        var faulty = FaultInjectingDriver.Wrap(emulator);
        using var backend = new CudaBackend(
            "emulated", faulty.Driver, 0, CudaElement.Float32, wantsPtx: true, choices: new TimedChoices(null) { Repetitions = 1, Rounds = 1 });
        using ITensorStore store = backend.CreateStore();
        LayerGraph graph = RandomNetwork.Training(1);
        foreach (Tensor tensor in graph.Stored) store.Add(tensor.Name, tensor.Shape);
        Dictionary<string, float[]> before = [];
        var random = new Random(1);
        foreach ((string name, Shape shape) in store.Entries)
        {
            before[name] = [.. Enumerable.Range(0, (int)shape.Elements).Select(_ => random.NextSingle() + 0.5f)];
            store.Write(name, before[name]);
        }
        // The whole step's graphs are the last ones: one where launches overlap, which is run before there is one where they do not.
        backend.Compile(graph, store).Dispose();
        int chosen = Made();
        backend.Compile(graph, store).Dispose();
        int again = Made() - chosen;
        faulty.FailCall(nameof(ICudaDriver.GraphInstantiate), chosen + 2 * again - 1, CUresult.OutOfMemory);
        var error = Assert.Throws<CudaException>(() => { backend.Compile(graph, store); });
        Assert.Contains("A smaller batch or crop needs less.", error.Message, StringComparison.Ordinal);
        foreach ((string name, float[] values) in before)
        {
            float[] found = new float[values.Length];
            store.Read(name, found);
            Assert.Equal(values, found);
        }

        int Made() => faulty.Calls.Count(c => c == nameof(ICudaDriver.GraphInstantiate));
    }

    [Theory]
    [InlineData(61)]
    [InlineData(90)]
    public void RandomNetworksMatchTheOracle(int architecture)
    {
        using IBackend backend = TestDriver.OpenBackend(architecture, CudaElement.Float32);
        for (int seed = 0; seed < 6; seed++)
        {
            PlanOptions? options = (seed % 3) switch
            {
                0 => new PlanOptions { Guarded = true, Fuse = Fusion.None },
                1 => new PlanOptions { Guarded = true },
                _ => null,
            };
            BackendComparison.Check(backend, RandomNetwork.Training(seed), seed, BackendComparison.WholeNetwork, options);
        }
    }

    [Fact]
    public void GradientsInSixteenBitsAreRefused()
    {
        using IBackend backend = TestDriver.OpenBackend(80, CudaElement.Float16);
        using SafetensorsFile golden = SafetensorsFile.Open(Path.Combine(AppContext.BaseDirectory, "golden", "train.safetensors"));
        var error = Assert.Throws<NotSupportedException>(() => GoldenCheck.Run(golden, backend));
        Assert.Contains("in f16: training computes in fp32", error.Message, StringComparison.Ordinal);
    }

    private void Check(int architecture, string file, PlanOptions? options = null)
    {
        using IBackend backend = TestDriver.OpenBackend(architecture, CudaElement.Float32);
        Check(backend, file, options);
    }

    private void Check(IBackend backend, string file, PlanOptions? options = null)
    {
        using SafetensorsFile golden = SafetensorsFile.Open(Path.Combine(AppContext.BaseDirectory, "golden", file));
        foreach (GoldenError error in GoldenCheck.Run(golden, backend, options))
        {
            output.WriteLine($"{error.Quantity}: {error.Error:g3} ({error.Tensor})");
            Assert.True(error.Passes, $"{file}: {error.Quantity} is off by {error.Error:g3} at {error.Tensor}; at most {error.Tolerance:g3} is allowed.");
        }
    }
}
