using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Evaluation;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Cuda;
using DwrSeg.Native.Tests.Cuda.Libraries;
using DwrSeg.Native.Tests.Models;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cuda;

/// <summary>Whole networks with their convolutions given to cuDNN and cuBLASLt, for which strict stand-ins compute on the emulated device.</summary>
public sealed class LibraryInferenceTests
{
    private const string FusedCall = "cudnnConvolutionBiasActivationForward";

    public LibraryInferenceTests() => TestNvrtc.Require();

    /// <summary>A device with stand-ins for the libraries.</summary>
    private sealed class Machine : IDisposable
    {
        private readonly EmulatedDriver _driver;
        private readonly FaultInjectingDriver _faulty;

        public Machine(SliceSupport slices = SliceSupport.Taken, int major = 9, uint leastAlignment = 16)
        {
            _driver = new EmulatedDriver(90);
            _faulty = FaultInjectingDriver.Wrap(_driver);
            (Cudnn, CublasLt) = (new CudnnDouble(_driver, slices, major), new CublasLtDouble(_driver, leastAlignment));
        }

        public LiveObjects Live => _driver.Live;

        public FaultInjectingDriver Faults => _faulty;

        public CudnnDouble Cudnn { get; }

        public CublasLtDouble CublasLt { get; }

        public CudaBackend Open(CudaElement element, ConvolutionChoice choice = ConvolutionChoice.Cudnn) => new(
            "emulated", _faulty.Driver, 0, element, wantsPtx: true, choice, new ConvolutionLibraries.Found(Cudnn, "", CublasLt, ""),
            new TimedChoices(null));

        public void Dispose() => _driver.Dispose();
    }

    [Theory]
    [InlineData("eval.safetensors", "f32", 1e-4, "Taken")]
    [InlineData("eval.safetensors", "f16", 1e-2, "Refused")]
    [InlineData("eval.safetensors", "bf16", 3e-2, "Taken")]
    [InlineData("eval-odd-size.safetensors", "f32", 1e-4, "RefusedLate")]
    [InlineData("eval-odd-size.safetensors", "f16", 1e-2, "Taken")]
    [InlineData("eval-odd-size.safetensors", "bf16", 3e-2, "Refused")]
    [InlineData("train.safetensors", "f32", 1e-4, "Taken")]
    [InlineData("train-odd-size.safetensors", "f32", 1e-4, "Refused")]
    public void PyTorchsResults(string name, string type, double tolerance, string slices)
    {
        using var machine = new Machine(Enum.Parse<SliceSupport>(slices));
        using IBackend backend = machine.Open(Enum.GetValues<CudaElement>().Single(e => e.KernelName() == type));
        using SafetensorsFile file = SafetensorsFile.Open(Path.Combine(AppContext.BaseDirectory, "golden", name));
        IReadOnlyList<GoldenError> errors = GoldenCheck.Run(file, backend, tolerance: new GoldenTolerance(Logits: tolerance));
        Assert.All(errors, e => Assert.True(e.Passes, $"{name}, {type}: {e}"));
    }

    [Theory]
    [InlineData("Taken", 9)]
    [InlineData("Refused", 8)]
    [InlineData("RefusedLate", 9)]
    public void RandomNetworksMatchTheOracle(string slices, int major)
    {
        using var machine = new Machine(Enum.Parse<SliceSupport>(slices), major);
        using IBackend backend = machine.Open(CudaElement.Float32);
        for (int seed = 0; seed < 8; seed++)
        {
            PlanOptions? options = (seed % 3) switch
            {
                0 => new PlanOptions { Guarded = true, Fuse = Fusion.None },
                1 => new PlanOptions { Guarded = true },
                _ => null,
            };
            LayerGraph graph = InferencePasses.Apply(RandomNetwork.Inference(seed));
            BackendComparison.Check(backend, graph, seed, BackendComparison.WholeNetwork, options);
        }
    }

    [Theory]
    [InlineData(1, "Taken")]
    [InlineData(3, "Taken")]
    [InlineData(3, "Refused")]
    public void SumsIntoASliceKeepWhatItHolds(int kernel, string slices)
    {
        using var machine = new Machine(Enum.Parse<SliceSupport>(slices));
        using IBackend backend = machine.Open(CudaElement.Float32);
        var builder = new GraphBuilder();
        Tensor x = builder.Input("x", new Shape(1, 5, 6, 24)), y = builder.Activation("y", new Shape(1, 5, 6, 24));
        Tensor w = builder.Parameter("w", new Shape(8, kernel, kernel, 16), ParameterLayout.Dense);
        builder.AddInto("copy", new Copy(), [x], new NodeOutput(y, false));
        builder.AddInto("conv", new Conv2d(kernel), [x.Slice(8, 16), w], new NodeOutput(y.Slice(8, 8), true));
        BackendComparison.Check(backend, builder.Build(y), seed: 1);
        Assert.Contains(kernel == 1 ? "Matmul" : "ConvolutionForward", kernel == 1 ? machine.CublasLt.Objects.Calls : machine.Cudnn.Objects.Calls);
    }

    [Theory]
    [InlineData("Taken")]
    [InlineData("Refused")]
    public void EveryConvolutionOfTheNetworkGoesToALibrary(string slices)
    {
        using var machine = new Machine(Enum.Parse<SliceSupport>(slices));
        using CudaBackend backend = machine.Open(CudaElement.Float16);
        using ITensorStore store = backend.CreateStore();
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(DwrSegConfig.Base(), 1, 32, 64));
        ModelWeights.Initialize(graph, store, 1);
        using var plan = (CudaPlan)backend.Compile(graph, store);
        CudaWork[] works = [.. plan.Covers.SelectMany(c => c.Launches)];
        string all = string.Join('\n', works.Select(w => w.Name));
        Assert.DoesNotContain(works, w => w.Call is "sir_mma" or "dwr_sr_mma" || w.Call.StartsWith("conv_", StringComparison.Ordinal));
        int dense = graph.Nodes.Count(n => n.Layer is Conv2d), pointwise = graph.Nodes.Count(n => n.Layer is Conv2d { Kernel: 1, Stride: 1 });
        Assert.Equal(dense, works.Count(w => w is CudnnConvolution or CublasLtProduct));
        // Every slice of this network lies on 16 bytes, so cuBLASLt has an algorithm for each 1x1 convolution.
        Assert.True(works.OfType<CublasLtProduct>().Count() == pointwise, all);
        Assert.Equal(new ConvolutionCounts(0, dense - pointwise, pointwise), plan.Convolutions);
        // One copy for each slice that a convolution reads or writes, where the library does not take it.
        int copies = works.OfType<CudaLaunch>().Count(w => w.Kernel.Name == "scaled_copy");
        Assert.True(slices == "Taken" ? copies == 0 : copies > 0, all);
        Assert.All(works, w => Assert.True(w.Bytes > 0 && (w.Flops > 0 || w is CudaLaunch), w.Name));
    }

    [Fact]
    public void BorderBiasIsAddedByTheLibrary()
    {
        using var machine = new Machine();
        using CudaBackend backend = machine.Open(CudaElement.Float16);
        using ITensorStore store = backend.CreateStore();
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 1, 40, 56));
        ModelWeights.Initialize(graph, store, 1);
        using var plan = (CudaPlan)backend.Compile(graph, store);
        Node decoder = graph.Nodes.Single(n => n.Layer is Conv2d { BorderBias: true });
        int step = plan.Summary.Steps.Index().First(s => s.Item.Nodes.Contains(decoder)).Index;
        CudaWork work = Assert.Single(plan.Covers[step].Launches);
        Assert.Contains(FusedCall, work.Name, StringComparison.Ordinal);
        Assert.Contains("sum, ReLU", work.Name, StringComparison.Ordinal);
    }

    [Fact]
    public void FreshWeightsReachTheLibraries()
    {
        using var machine = new Machine();
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 1, 32, 32));
        float[] first = Logits(machine, graph, ConvolutionChoice.Cudnn, seed: 1, thenSeed: 2), fresh = Logits(machine, graph, ConvolutionChoice.Cudnn, seed: 2);
        Assert.Equal(fresh, first);
    }

    [Fact]
    public void NothingIsLeftInTheLibrariesOrOnTheDevice()
    {
        using var machine = new Machine(SliceSupport.RefusedLate);
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 1, 32, 32));
        Logits(machine, graph, ConvolutionChoice.Cudnn, seed: 1);
        Assert.Equal((0, 0, 0), (machine.Cudnn.Objects.Live, machine.CublasLt.Objects.Live, machine.Live.Allocations));
    }

    [Fact]
    public void ProductsThatCublasLtHasNoAlgorithmForGoToCudnn()
    {
        using var machine = new Machine(leastAlignment: 512);
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 1, 32, 32));
        Logits(machine, graph, ConvolutionChoice.Cudnn, seed: 1);
        Assert.DoesNotContain("Matmul", machine.CublasLt.Objects.Calls);
        Assert.Contains("ConvolutionBiasActivationForward", machine.Cudnn.Objects.Calls);
    }

    [Fact]
    public void NativeNeverAsksALibrary()
    {
        using var machine = new Machine();
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 1, 32, 32));
        Logits(machine, graph, ConvolutionChoice.Native, seed: 1);
        Assert.Empty(machine.Cudnn.Objects.Calls);
        Assert.Empty(machine.CublasLt.Objects.Calls);
    }

    [Fact]
    public void WithoutAClockTheModelsChoose()
    {
        using var machine = new Machine();
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 1, 32, 32));
        Assert.Equal(Logits(machine, graph, ConvolutionChoice.Native, seed: 1), Logits(machine, graph, ConvolutionChoice.Auto, seed: 1));
        Assert.Empty(machine.Cudnn.Objects.Calls);
    }

    [Fact]
    public void MissingLibraryIsNamedWithItsRemedy()
    {
        using var driver = new EmulatedDriver(90);
        var cudnn = new CudnnDouble(driver);
        DeviceUnavailableException Open(ConvolutionLibraries.Found found) => Assert.Throws<DeviceUnavailableException>(
            () => new CudaBackend("emulated", driver, 0, CudaElement.Float16, wantsPtx: true, ConvolutionChoice.Cudnn, found, new TimedChoices(null)));
        Assert.Contains("get cuDNN", Open(new(null, "no cuDNN here: get cuDNN", null, "no cuBLASLt")).Message, StringComparison.Ordinal);
        Assert.Contains("get cuBLASLt", Open(new(cudnn, "", null, "no cuBLASLt here: get cuBLASLt")).Message, StringComparison.Ordinal);
        Assert.Equal(default, driver.Live);
        Assert.Equal(0, cudnn.Objects.Live);
    }

    [Fact]
    public void LibraryThatIsBrokenEndsCudnnAndNotAuto()
    {
        using var machine = new Machine();
        machine.CublasLt.Objects.FailEvery("Create", 1);
        var error = Assert.Throws<DwrSeg.Native.Cuda.CudaException>(() => machine.Open(CudaElement.Float16));
        Assert.Contains("cublasLtCreate failed: CUBLAS_STATUS_NOT_INITIALIZED", error.Message, StringComparison.Ordinal);
        Assert.Equal((0, 0), (machine.Cudnn.Objects.Live, machine.Live.Contexts));
        machine.Open(CudaElement.Float16, ConvolutionChoice.Auto).Dispose();
    }

    [Theory]
    [InlineData("Cudnn", "SetTensor4dDescriptorEx", 4000, "cudnnSetTensor4dDescriptorEx failed: CUDNN_STATUS_INTERNAL_ERROR (4000)")]
    [InlineData("Cudnn", "ConvolutionBiasActivationForward", 5000, "cudnnConvolutionBiasActivationForward (")]
    [InlineData("Cudnn", "CreateActivationDescriptor", 4003, "cudnnCreateActivationDescriptor failed: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED")]
    [InlineData("CublasLt", "MatmulPreferenceSetAttribute", 14, "cublasLtMatmulPreferenceSetAttribute (MaxWorkspaceBytes) failed: CUBLAS_STATUS_INTERNAL_ERROR")]
    [InlineData("CublasLt", "Matmul", 13, "cublasLtMatmul (cublasLtMatmul 0, ")]
    public void FailureOfACallIsToldAndLeavesNothing(string library, string call, int status, string message)
    {
        using var machine = new Machine();
        (library == "Cudnn" ? machine.Cudnn.Objects : machine.CublasLt.Objects).FailEvery(call, status);
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 1, 32, 32));
        var error = Assert.Throws<DwrSeg.Native.Cuda.CudaException>(() => Logits(machine, graph, ConvolutionChoice.Cudnn, seed: 1));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.Equal(status, error.Status);
        Assert.Equal((0, 0, 0), (machine.Cudnn.Objects.Live, machine.CublasLt.Objects.Live, machine.Live.Allocations));
    }

    [Theory]
    [InlineData("Unknown", "CUDA_ERROR_UNKNOWN", true)]
    [InlineData("OutOfMemory", "CUDA_ERROR_OUT_OF_MEMORY", false)]
    [InlineData("IllegalAddress", "CUDA_ERROR_ILLEGAL_ADDRESS", false)] // the device is lost, whoever computes
    public void ReplayThatFailsNamesTheCallAndTheLibrariesInTheGraph(string status, string name, bool advises)
    {
        using var machine = new Machine();
        using CudaBackend backend = machine.Open(CudaElement.Float16);
        using ITensorStore store = backend.CreateStore();
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 1, 32, 32));
        ModelWeights.Initialize(graph, store, 1);
        using IPlan plan = backend.Compile(graph, store);
        machine.Faults.FailEvery("GraphLaunch", Enum.Parse<CUresult>(status));
        var error = Assert.Throws<DwrSeg.Native.Cuda.CudaException>(plan.Run);
        Assert.StartsWith($"cuGraphLaunch failed: {name}", error.Message, StringComparison.Ordinal);
        string advice = advises ? "; `--conv native` (SegmenterOptions.Convolutions) does without" : "";
        Assert.EndsWith($"with {FusedCall} and cublasLtMatmul in it{advice}.", error.Message, StringComparison.Ordinal);
        machine.Faults.Reset();
        plan.Run();
    }

    [Fact]
    public void RefusedCallsShowInTheCounts()
    {
        using var machine = new Machine(SliceSupport.Taken);
        machine.Cudnn.Objects.FailEvery("GetConvolutionForwardAlgorithm", 3000);
        using CudaBackend backend = machine.Open(CudaElement.Float16);
        using ITensorStore store = backend.CreateStore();
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 1, 32, 32));
        using var plan = (CudaPlan)backend.Compile(graph, store);
        int dense = graph.Nodes.Count(n => n.Layer is Conv2d), pointwise = graph.Nodes.Count(n => n.Layer is Conv2d { Kernel: 1, Stride: 1 });
        Assert.Equal($"{dense - pointwise} native, {pointwise} cuBLASLt", plan.Convolutions.ToString());
    }

    private static float[] Logits(Machine machine, LayerGraph graph, ConvolutionChoice choice, ulong seed, ulong? thenSeed = null)
    {
        using CudaBackend backend = machine.Open(CudaElement.Float16, choice);
        using ITensorStore store = backend.CreateStore();
        ModelWeights.Initialize(graph, store, seed);
        using IPlan plan = backend.Compile(graph, store);
        Tensor image = graph[DwrSegModel.Image];
        var random = new Random(9);
        plan.Write(image, [.. Enumerable.Range(0, (int)image.Shape.Elements).Select(_ => random.NextSingle() * 2 - 1)]);
        plan.Run();
        if (thenSeed is { } other)
        {
            ModelWeights.Initialize(graph, store, other);
            plan.Prepare();
            plan.Run();
        }
        var logits = new float[graph[DwrSegModel.Logits].Shape.Elements];
        plan.Read(graph[DwrSegModel.Logits], logits);
        return logits;
    }
}
