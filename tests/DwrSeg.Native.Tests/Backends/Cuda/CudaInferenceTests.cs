using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Evaluation;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Cuda;
using DwrSeg.Native.Tests.Cuda.Kernels;
using DwrSeg.Native.Tests.Models;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cuda;

/// <summary>The CUDA backend's plans: against the float64 oracle, PyTorch's results and the CPU backend.</summary>
[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class CudaInferenceTests
{
    public static IEnumerable<TheoryDataRow<int>> Architectures => KernelDevice.Architectures;

    public static TheoryData<string> Goldens => ["eval.safetensors", "eval-odd-size.safetensors", "eval-large.safetensors"];

    [Theory]
    [MemberData(nameof(Architectures))]
    public void RandomNetworksMatchTheOracle_InExactFp32(int architecture)
    {
        using IBackend backend = Open(architecture, CudaElement.Float32);
        for (int seed = 0; seed < 6; seed++)
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

    // The kernels for an image want a bias on 16 bytes; others take over.
    [Theory]
    [InlineData("f32", 1e-6)]
    [InlineData("f16", 2e-3)]
    public void AnImagesConvolutionTakesAnyBias(string type, double tolerance)
    {
        using IBackend backend = Open(80, KernelDevice.Element(type));
        foreach (int first in new[] { 0, 2, 4 })
        {
            var builder = new GraphBuilder();
            Tensor x = builder.Input("x", new Shape(1, 8, 9, 3)), w = builder.Parameter("w", new Shape(8, 3, 3, 3), ParameterLayout.Dense);
            Tensor biases = builder.Parameter("b", Shape.Vector(16));
            LayerGraph graph = builder.Build(builder.Add("relu", new Relu(), builder.Add("conv", new Conv2d(3, 2), x, w, biases.Slice(first, 8))));
            BackendComparison.Check(backend, graph, first, tolerance);
        }
    }

    [Theory]
    [MemberData(nameof(Goldens))]
    public void PyTorchsLogitsInFp32(string name) => Check(name, CudaElement.Float32, 1e-4);

    // fp16 and bf16 store activations in 11 and 8 significant bits; a dozen layers move the logits by a few roundings.
    [Theory]
    [MemberData(nameof(Goldens))]
    public void PyTorchsLogitsInFp16(string name) => Check(name, CudaElement.Float16, 1e-2);

    [Theory]
    [MemberData(nameof(Goldens))]
    public void PyTorchsLogitsInBf16(string name) => Check(name, CudaElement.BFloat16, 3e-2);

    [Fact]
    public void InFp32TheModelTakesWinogradsProductsForALargeConvolution()
    {
        using var backend = (CudaBackend)Open(61, CudaElement.Float32);
        Assert.SkipWhen(backend.Kernels.Context.Device.Driver.HasClock, "time chooses");
        var builder = new GraphBuilder();
        Tensor x = builder.Input("x", new Shape(1, 64, 128, 64)), w = builder.Parameter("w", new Shape(192, 3, 3, 64), ParameterLayout.Dense);
        using ITensorStore store = backend.CreateStore();
        using var plan = (CudaPlan)backend.Compile(builder.Build(builder.Add("conv", new Conv2d(3), x, w)), store);
        Assert.Equal("conv_winograd", Assert.Single(plan.Covers.SelectMany(c => c.Launches)).Call);
        // Blocks of it share no sums.
        Assert.Equal(SplitWorkspace.None, plan.Workspace);
    }

    [Fact]
    public void ANetworkIsAShortListOfLaunches()
    {
        using var backend = (CudaBackend)Open(90, CudaElement.Float16);
        Assert.SkipWhen(backend.Kernels.Context.Device.Driver.HasClock, "time chooses");
        using ITensorStore store = backend.CreateStore();
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(DwrSegConfig.Base(), 1, 512, 1024));
        ModelWeights.Initialize(graph, store, 1);
        using var plan = (CudaPlan)backend.Compile(graph, store);
        // The most that the base network may take where the model chooses; the class map is one more. Smaller maps have too few tiles for a SIR.
        string launches = string.Join('\n', plan.Covers.Select(c => $"{c.Launches.Count} {c.Name}"));
        Assert.True(plan.Covers.Sum(c => c.Launches.Count) <= 29, launches);
        Assert.True(plan.Summary.ArenaBytes < plan.Summary.UnsharedBytes);
    }

    [Fact]
    public void BatchNormsOfANetworkFoldTogether()
    {
        using var driver = new EmulatedDriver(80);
        TestNvrtc.Require();
        using var backend = new CudaBackend("emulated", driver, 0, CudaElement.Float16, wantsPtx: true);
        using ITensorStore store = backend.CreateStore();
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(DwrSegConfig.Base(), 1, 32, 32));
        Assert.True(graph.Nodes.Count(n => n.Layer is FoldBatchNorm or FoldInputBatchNorm) > 20);
        ModelWeights.Initialize(graph, store, 1);
        driver.ClearLaunches();
        using IPlan plan = backend.Compile(graph, store);
        // The decoder's convolution has one on either side, and the second fold takes what the first made.
        Assert.Equal(2, driver.Launches.Count(l => l.Kernel == "fold_batch_norm"));
    }

    [Fact]
    public void ImagesBecomeTheClassMapThatTheCpuMakes()
    {
        var config = SmallModel.Config;
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(config, 1, 40, 56));
        var random = new Random(5);
        byte[] pixels = new byte[50 * (61 * 4 + 3)];
        random.NextBytes(pixels);
        byte[] onCpu = ClassMap(Devices.Open("cpu", 1, out _), graph, pixels, out float[] expected);
        byte[] onCuda = ClassMap(Open(80, CudaElement.Float32), graph, pixels, out float[] found);
        Assert.True(OracleError(found, expected) < 1e-4);
        // Pixels whose two best classes are equal within rounding may differ.
        int different = onCpu.Zip(onCuda).Count(p => p.First != p.Second);
        Assert.True(different <= onCpu.Length / 500, $"{different} of {onCpu.Length} pixels differ");
    }

    [Fact]
    public void ImagesOfABatchDoNotOverwriteEachOther()
    {
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 3, 32, 32));
        using IBackend backend = Open(80, CudaElement.Float32);
        using ITensorStore store = backend.CreateStore();
        ModelWeights.Initialize(graph, store, 3);
        using IPlan plan = backend.Compile(graph, store);
        // Each of another form, all of the same number of bytes.
        (int Width, int Height, PixelFormat Format)[] forms = [(40, 30, PixelFormat.Rgb), (40, 30, PixelFormat.Bgr), (30, 40, PixelFormat.Rgb)];
        byte[][] images = [.. forms.Select((_, i) => Enumerable.Repeat((byte)(50 + 60 * i), 3600).ToArray())];
        void Write(int i, ReadOnlySpan<byte> pixels) => plan.WriteImage(
            graph[DwrSegModel.Image], i, new ImageView(pixels, forms[i].Width, forms[i].Height, forms[i].Width * 3, forms[i].Format), Normalization.ImageNet);
        for (int i = 0; i < 3; i++) Write(i, images[i]);
        float[] found = new float[graph[DwrSegModel.Image].Shape.Elements];
        plan.Read(graph[DwrSegModel.Image], found);
        (float, float)[] channels = [(0.485f, 0.229f), (0.456f, 0.224f), (0.406f, 0.225f)];
        for (int i = 0; i < 3; i++)
        {
            float[] image = found[(i * found.Length / 3)..((i + 1) * found.Length / 3)];
            float[] expected = [.. channels.Select(c => (images[i][0] / 255f - c.Item1) / c.Item2)];
            for (int p = 0; p < image.Length; p++) Assert.Equal(expected[p % 3], image[p], 1e-4f);
        }
    }

    [Fact]
    public void ANewFormWaitsForTheLastImagesUpload()
    {
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 1, 32, 32));
        using IBackend backend = Open(80, CudaElement.Float32);
        using ITensorStore store = backend.CreateStore();
        ModelWeights.Initialize(graph, store, 3);
        using IPlan plan = backend.Compile(graph, store);
        byte[] first = new byte[3600], second = new byte[3600];
        new Random(1).NextBytes(first);
        new Random(2).NextBytes(second);
        float[] Logits(Action<IPlan> between)
        {
            plan.WriteImage(graph[DwrSegModel.Image], 0, new ImageView(first, 40, 30, 120, PixelFormat.Rgb), Normalization.ImageNet);
            plan.Run();
            between(plan);
            float[] logits = new float[graph[DwrSegModel.Logits].Shape.Elements];
            plan.Read(graph[DwrSegModel.Logits], logits);
            return logits;
        }
        float[] alone = Logits(_ => { });
        Assert.Equal(alone, Logits(p => p.WriteImage(graph[DwrSegModel.Image], 0, new ImageView(second, 30, 40, 90, PixelFormat.Bgr), Normalization.ImageNet)));
    }

    [Fact]
    public void NothingIsLeftOnTheDevice()
    {
        var driver = new EmulatedDriver(80);
        TestNvrtc.Require();
        var backend = new CudaBackend("emulated", driver, 0, CudaElement.Float16, wantsPtx: true);
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 1, 32, 32));
        ITensorStore store = backend.CreateStore();
        ModelWeights.Initialize(graph, store, 1);
        IPlan plan = backend.Compile(graph, store);
        plan.Run();
        plan.ReadClasses(graph[DwrSegModel.Logits], 0, 32, 32, new byte[1024], new byte[1024]);
        plan.Dispose();
        store.Dispose();
        backend.Dispose();
        Assert.Equal(0, driver.Live.Allocations);
    }

    private static byte[] ClassMap(IBackend backend, LayerGraph graph, byte[] pixels, out float[] logits)
    {
        using (backend)
        {
            using ITensorStore store = backend.CreateStore();
            ModelWeights.Initialize(graph, store, 3);
            using IPlan plan = backend.Compile(graph, store);
            var image = new ImageView(pixels, 61, 50, 61 * 4 + 3, PixelFormat.Bgra);
            plan.WriteImage(graph[DwrSegModel.Image], 0, image, Normalization.ImageNet);
            plan.Run();
            logits = new float[graph[DwrSegModel.Logits].Shape.Elements];
            plan.Read(graph[DwrSegModel.Logits], logits);
            byte[] classes = new byte[61 * 50], confidence = new byte[61 * 50];
            plan.ReadClasses(graph[DwrSegModel.Logits], 0, 50, 61, classes, confidence);
            return classes;
        }
    }

    private static void Check(string name, CudaElement element, double tolerance)
    {
        using IBackend backend = Open(90, element);
        using SafetensorsFile file = SafetensorsFile.Open(Path.Combine(AppContext.BaseDirectory, "golden", name));
        IReadOnlyList<GoldenError> errors = GoldenCheck.Run(file, backend, tolerance: new GoldenTolerance(Logits: tolerance));
        Assert.All(errors, e => Assert.True(e.Passes, $"{name}, {element}: {e}"));
    }

    private static CudaBackend Open(int architecture, CudaElement element) => TestDriver.OpenBackend(architecture, element);

    private static double OracleError(float[] found, float[] expected) =>
        Math.Sqrt(found.Zip(expected).Sum(p => Math.Pow(p.First - p.Second, 2)) / expected.Sum(e => (double)e * e));
}
