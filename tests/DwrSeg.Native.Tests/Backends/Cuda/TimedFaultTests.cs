using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Tests.Cuda;
using DwrSeg.Native.Tests.Cuda.Libraries;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Segmenting;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cuda;

/// <summary>
/// Any call of the driver or of a library may fail while covers are chosen by time and a plan is made of them, with choices remembered and without:
/// the plan computes what it should, or there is one error that names the call; and nothing is left behind.
/// </summary>
public sealed class TimedFaultTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    // Its halves win: the 3x3 by cuDNN, the 1x1 by cuBLASLt.
    private readonly LayerGraph _graph = TimedChoiceTests.Module();
    private readonly EmulatedDriver _emulator;
    private readonly FaultInjectingDriver _faulty;

    public TimedFaultTests()
    {
        TestNvrtc.Require();
        _emulator = new EmulatedDriver(new EmulatedDriverOptions
        {
            Devices = [DeviceModel.Of(80)], LaunchMilliseconds = _ => 2,
        });
        _faulty = FaultInjectingDriver.Wrap(_emulator);
    }

    public void Dispose()
    {
        _emulator.Dispose();
        _folder.Dispose();
    }

    /// <summary>
    /// Whose calls, whether choices are remembered, and the type: fp32 has three small kernels to choose from, fp16 a fused module and many tiles,
    /// which are loaded anew for each failure.
    /// </summary>
    public static IEnumerable<TheoryDataRow<string, bool, string>> Cases =>
        from whose in new[] { "driver", "cuDNN", "cuBLASLt" }
        from isRemembered in new[] { false, true }
        from type in new[] { "f32", "f16" }
        where type == "f32" || FaultTests.IsExhaustive || (whose == "driver" && isRemembered)
        select new TheoryDataRow<string, bool, string>(whose, isRemembered, type);

    /// <summary>
    /// Every allocation, the first and last call of each kind, and a seeded sample of the rest; with <c>DWRSEG_TEST_FAULTS=all</c> every call,
    /// which takes minutes.
    /// </summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void AnyCallMayFail(string whose, bool isRemembered, string type)
    {
        CudaElement element = Enum.GetValues<CudaElement>().Single(e => e.KernelName() == type);
        string choices = _folder.File("choices");
        if (isRemembered) Load(new Machine(this, choices), element);
        Reset();
        var sound = new Machine(this, Copy(choices));
        float[] expected = Load(sound, element);
        string[] calls = [.. whose == "driver" ? _faulty.Calls : sound.ObjectsOf(whose).Calls];
        foreach (int k in FaultTests.Chosen(calls, seed: 11, withAllocations: true))
        {
            // No device goes on after a wait for all its work has failed, so what that work uses is freed then.
            if (calls[k] == nameof(ICudaDriver.CtxSynchronize)) continue;
            Reset();
            var machine = new Machine(this, Copy(choices));
            if (whose == "driver") FaultTests.Fail(_faulty, calls, k);
            // A refusal by turns with a failure.
            else machine.ObjectsOf(whose).FailCall(k, (whose, k % 2) switch { ("cuDNN", 0) => 3000, ("cuDNN", _) => 5000, (_, 0) => 15, _ => 13 });
            CudaException? error = null;
            try
            {
                Assert.InRange(Difference(expected, Load(machine, element)), 0, 1e-2);
            }
            catch (CudaException e)
            {
                error = e;
            }
            string method = calls[k], what = $"{whose}, call {k}, {method}";
            // Something else computes what a library fails at.
            if (whose != "driver" || FaultTests.IsSilent(method)) Assert.True(error is null, $"{what}: {error?.Message}");
            else if (error is not null) Assert.StartsWith($"cu{method}", error.Message, StringComparison.Ordinal);
            // A way that memory is short for is passed over, and a context is made current to give things back too; nothing else may go wrong unseen.
            else
                Assert.True(FaultTests.IsAllocation(method) || method == nameof(ICudaDriver.CtxSetCurrent), $"{what}: nobody was told");
            if (whose == "driver" && FaultTests.IsKept(method)) continue;
            Assert.True(_emulator.Live == default, $"{what} left {_emulator.Live}");
            Assert.True(machine.LiveInLibraries == 0, $"{what} left {machine.LiveInLibraries} objects in the libraries");
        }
    }

    private void Reset()
    {
        _faulty.Reset();
        // With another context current, there are calls that put it back.
        _emulator.CtxSetCurrent(default);
    }

    private sealed class Machine(TimedFaultTests tests, string? choices)
    {
        public TimedChoices Choices { get; } = new(choices) { Repetitions = 1, Rounds = 1 };

        public CudnnDouble Cudnn { get; } = new(tests._emulator) { Milliseconds = 1 };

        public CublasLtDouble CublasLt { get; } = new(tests._emulator) { Milliseconds = rank => 1.0 / (rank + 1) };

        public int LiveInLibraries => Cudnn.Objects.Live + CublasLt.Objects.Live;

        public LibraryObjects ObjectsOf(string library) => library == "cuDNN" ? Cudnn.Objects : CublasLt.Objects;
    }

    private float[] Load(Machine machine, CudaElement element)
    {
        using var backend = new CudaBackend(
            "emulated", _faulty.Driver, 0, element, wantsPtx: true, ConvolutionChoice.Auto,
            new ConvolutionLibraries.Found(machine.Cudnn, "", machine.CublasLt, ""), machine.Choices);
        using ITensorStore store = backend.CreateStore();
        var random = new Random(3);
        foreach (Tensor parameter in _graph.Parameters)
        {
            store.Add(parameter.Name, parameter.Shape);
            store.Write(parameter.Name, Values(random, parameter, 0.1f));
        }
        using IPlan plan = backend.Compile(_graph, store);
        Tensor input = _graph.Inputs.Single(), output = _graph.Outputs.Single();
        plan.Write(input, Values(random, input, 1));
        plan.Run();
        var values = new float[output.Shape.Elements];
        plan.Read(output, values);
        return values;
    }

    private static float[] Values(Random random, Tensor tensor, float scale) =>
        [.. Enumerable.Range(0, (int)tensor.Shape.Elements).Select(_ => scale * (2 * random.NextSingle() - 1))];

    private static double Difference(float[] expected, float[] found) =>
        Math.Sqrt(found.Zip(expected).Sum(p => Math.Pow(p.First - p.Second, 2)) / expected.Sum(e => (double)e * e));

    // Failures must not change what the next load finds. Null where nothing is remembered.
    private string? Copy(string choices)
    {
        if (!Directory.Exists(choices)) return null;
        string copy = _folder.File("copy");
        if (Directory.Exists(copy)) Directory.Delete(copy, recursive: true);
        Directory.CreateDirectory(copy);
        foreach (string file in Directory.GetFiles(choices)) File.Copy(file, Path.Combine(copy, Path.GetFileName(file)));
        return copy;
    }
}
