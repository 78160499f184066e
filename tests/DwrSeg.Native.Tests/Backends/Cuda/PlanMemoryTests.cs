using System.Globalization;
using System.Text.RegularExpressions;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Cuda;
using DwrSeg.Native.Tests.Cuda.Libraries;
using DwrSeg.Native.Tests.Models;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cuda;

/// <summary>What is said where a device has too little memory for a plan.</summary>
public sealed partial class PlanMemoryTests
{
    private const int MiB = 1 << 20;

    public PlanMemoryTests() => TestNvrtc.Require();

    [GeneratedRegex(
        @"needs about ([\d.]+) MiB \(([\d.]+) MiB of maps, (?:([\d.]+) MiB of workspaces, )?([\d.]+) MiB of packed weights\); "
        + @"([\d.]+) MiB are free without it\.")]
    private static partial Regex Needs();

    [Theory]
    [InlineData("f32")]
    [InlineData("f16")]
    public void ADeviceWithTooLittleMemoryIsToldWhatThePlanNeeds(string type)
    {
        CudaElement element = Enum.GetValues<CudaElement>().Single(e => e.KernelName() == type);
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 1, 192, 256));
        double taken, weights;
        using (var roomy = new Device(64 * MiB, element)) (weights, taken) = roomy.Compile(graph);
        foreach (double share in new[] { 0.0, 0.5, 0.9 })
        {
            using var device = new Device((ulong)(weights + share * taken), element);
            var error = Assert.Throws<CudaException>(() => device.Compile(graph));
            Assert.Equal((int)CUresult.OutOfMemory, error.Status);
            double[] amounts = Amounts(error);
            Assert.InRange(amounts[0], 0.9 * taken / MiB - 0.1, 1.1 * taken / MiB + 0.1);
            Assert.Equal(amounts[0], amounts[1] + amounts[2] + amounts[3], 0.2);
            Assert.Equal(share * taken / MiB, amounts[4], 0.1);
            // sm_80 has fp16.
            Assert.Equal(type == "f32", error.Message.Contains("In fp16 ", StringComparison.Ordinal));
            Assert.Equal(default, device.Live);
        }
        using var enough = new Device((ulong)(weights + 1.3 * taken), element);
        enough.Compile(graph);
    }

    [Fact]
    public void ADeviceThatCannotEvenChooseIsToldToo()
    {
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 1, 192, 256));
        double weights;
        using (var roomy = new Device(64 * MiB, CudaElement.Float16)) (weights, _) = roomy.Compile(graph);
        using var device = new Device((ulong)weights + MiB / 8, CudaElement.Float16, isTimed: true);
        double[] amounts = Amounts(Assert.Throws<CudaException>(() => device.Compile(graph)));
        Assert.True(amounts[1] > amounts[4], "the maps alone are more than what is free");
        Assert.True(double.IsNaN(amounts[2]), "what workspaces will be needed shows when steps are chosen");
        Assert.Equal(default, device.Live);
    }

    [Fact]
    public void EachAllocationOfAPlanIsOneOfTheWhole()
    {
        var builder = new GraphBuilder();
        Tensor y = builder.Input("x", new Shape(1, 4, 4, 64));
        foreach (int kernel in new[] { 3, 1 })
        {
            Tensor w = builder.Parameter($"w{kernel}", new Shape(64, kernel, kernel, 64), ParameterLayout.Dense);
            y = builder.Add($"conv{kernel}", new Conv2d(kernel), y, w);
        }
        LayerGraph graph = builder.Build(y);
        using var device = new Device(64 * MiB, CudaElement.Float16);
        device.Compile(graph);
        // After those of the weights, which belong to no plan: the arena, shared sums, two convolutions' weights.
        int weights = graph.Parameters.Count(), allocations = device.Calls.Count(c => c == nameof(ICudaDriver.MemAlloc));
        Assert.Equal(4, allocations - weights);
        for (int i = weights; i < allocations; i++)
        {
            Amounts(Assert.Throws<CudaException>(() => device.Compile(graph, failing: i)));
            Assert.Equal(default, device.Live);
        }
    }

    [Fact]
    public void ADeviceWithoutFp16IsNotToldOfIt()
    {
        using var driver = new EmulatedDriver(61);
        using var context = new CudaContext(driver);
        CudaException failure = CudaStatus.Failure(driver, CUresult.OutOfMemory, "cuMemAlloc");
        Assert.DoesNotContain("fp16", MemoryShortage.OfPlan(context, failure, CudaElement.Float32, MiB, null, MiB).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AWorkspaceThatCannotBeHadIsAskedForNoLonger()
    {
        using var driver = new EmulatedDriver(new EmulatedDriverOptions { Devices = [DeviceModel.Of(80) with { MemoryBytes = MiB }] });
        using var context = new CudaContext(driver);
        using var workspace = new LibraryWorkspace(context);
        workspace.Reserve(100);
        workspace.Allocate();
        CUdeviceptr first = workspace.Address;
        workspace.Reserve(2 * MiB);
        Assert.Throws<CudaException>(workspace.Allocate);
        Assert.Equal((100, first), (workspace.Needed, workspace.Address));
        workspace.Reserve(200);
        workspace.Allocate();
        Assert.NotEqual(first, workspace.Address);
    }

    private static double[] Amounts(CudaException error)
    {
        Match match = Needs().Match(error.Message);
        Assert.True(match.Success, error.Message);
        Assert.StartsWith("cu", error.Message, StringComparison.Ordinal);
        Assert.Contains("MiB needed", error.Message, StringComparison.Ordinal);
        return [.. match.Groups.Values.Skip(1).Select(g => g.Success ? double.Parse(g.Value, CultureInfo.InvariantCulture) : double.NaN)];
    }

    private sealed class Device : IDisposable
    {
        private readonly EmulatedDriver _emulator;
        private readonly FaultInjectingDriver _faulty;
        private readonly CudaElement _element;

        public Device(ulong memoryBytes, CudaElement element, bool isTimed = false)
        {
            _emulator = new EmulatedDriver(new EmulatedDriverOptions
            {
                Devices = [DeviceModel.Of(80) with { MemoryBytes = memoryBytes }], LaunchMilliseconds = isTimed ? _ => 2 : null,
            });
            (_faulty, _element) = (FaultInjectingDriver.Wrap(_emulator), element);
        }

        public LiveObjects Live => _emulator.Live;

        public IReadOnlyList<string> Calls => _faulty.Calls;

        /// <summary>Makes a plan and gives it back, or fails at an allocation; the bytes of the weights and of the plan.</summary>
        public (double Weights, double Plan) Compile(LayerGraph graph, int? failing = null)
        {
            _faulty.Reset();
            // With another context current, there are calls that put it back.
            _emulator.CtxSetCurrent(default);
            if (failing is { } number) _faulty.FailCall(nameof(ICudaDriver.MemAlloc), number, CUresult.OutOfMemory);
            var choices = new TimedChoices(null) { Repetitions = 1, Rounds = 1 };
            var found = new ConvolutionLibraries.Found(
                new CudnnDouble(_emulator) { Milliseconds = 1 }, "", new CublasLtDouble(_emulator) { Milliseconds = _ => 1 }, "");
            using var backend = new CudaBackend(
                "emulated", _faulty.Driver, 0, _element, wantsPtx: true, ConvolutionChoice.Auto, found, choices);
            using ITensorStore store = backend.CreateStore();
            foreach (Tensor tensor in graph.Stored) store.Add(tensor.Name, tensor.Shape);
            ulong before = _emulator.Live.Bytes;
            using IPlan plan = backend.Compile(graph, store);
            return (before, _emulator.Live.Bytes - before);
        }

        public void Dispose() => _emulator.Dispose();
    }
}
