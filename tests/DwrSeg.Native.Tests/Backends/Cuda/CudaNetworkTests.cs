using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Data;
using DwrSeg.Native.Evaluation;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Cuda;
using DwrSeg.Native.Tests.Cuda.Kernels;
using DwrSeg.Native.Tests.Data;
using DwrSeg.Native.Tests.Oracle;
using DwrSeg.Native.Tests.Segmenting;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cuda;

/// <summary>Whole networks on emulated devices: every variant, every architecture, the shipped model on an image.</summary>
[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class CudaNetworkTests(ITestOutputHelper output)
{
    private static readonly string Golden = Path.Combine(AppContext.BaseDirectory, "golden");

    /// <summary>A golden file for each variant of the network. Those with other losses have the networks of others.</summary>
    public static TheoryData<string> Variants =>
    [
        .. Directory.GetFiles(Golden, "train*.safetensors").Select(f => Path.GetFileName(f)!)
            .Where(f => !f.Contains("ohem", StringComparison.Ordinal)).Order(),
    ];

    public static IEnumerable<TheoryDataRow<int, string>> ArchitecturesAndTypes => TestDriver.IsReal
        ? KernelDevice.ArchitecturesAndTypes
        : from architecture in DeviceModel.Architectures
          from element in Enum.GetValues<CudaElement>()
          where element.FirstArchitecture().Number <= architecture
          select new TheoryDataRow<int, string>(architecture, element.KernelName()) { Skip = TestDriver.WhyNot(architecture) };

    // These files hold a training step's logits, so what an inference must give comes from float64 loops over the graph without any pass.
    // fp16 rounds activations to 11 bits: a dozen layers move the logits by a few roundings.
    [Theory]
    [MemberData(nameof(Variants))]
    public void EveryVariantInfersWhatTheOracleInfers(string name)
    {
        using SafetensorsFile file = SafetensorsFile.Open(Path.Combine(Golden, name));
        ModelMetadata metadata = ModelMetadata.Read(file);
        int[] shape = [.. file["input"].Shape.Select(s => (int)s)];
        LayerGraph graph = DwrSegModel.Inference(metadata.Config, shape[0], shape[2], shape[3]);
        float[] image = Image(file, shape);
        float[] expected = Logits(new OracleBackend(), file, graph, image);
        foreach ((CudaElement element, double tolerance) in new[] { (CudaElement.Float32, 1e-5), (CudaElement.Float16, 1e-2) })
        {
            float[] found = Logits(Open(90, element), file, InferencePasses.Apply(graph), image);
            double error = RelativeError(found, expected);
            output.WriteLine($"{name}, {element}: {error:g3}");
            Assert.True(error < tolerance, $"{name}, {element}: off by {error:g3}");
        }
    }

    [Theory]
    [MemberData(nameof(ArchitecturesAndTypes))]
    public void EveryArchitectureInfersAnOddSize(int architecture, string type)
    {
        CudaElement element = KernelDevice.Element(type);
        double tolerance = element switch { CudaElement.Float32 => 1e-4, CudaElement.Float16 => 1e-2, _ => 3e-2 };
        using IBackend backend = Open(architecture, element);
        using SafetensorsFile file = SafetensorsFile.Open(Path.Combine(Golden, "eval-odd-size.safetensors"));
        // By time or by model some of the fused modules would not be taken.
        foreach (Fusion fuse in element == CudaElement.Float32 ? [Fusion.Auto] : new[] { Fusion.Auto, Fusion.All })
        {
            foreach (GoldenError error in GoldenCheck.Run(file, backend, new PlanOptions { Fuse = fuse }, new GoldenTolerance(Logits: tolerance)))
                Assert.True(error.Passes, $"sm_{architecture}, {element}, {fuse}: {error}");
        }
    }

    /// <summary>Architectures that have the fused modules.</summary>
    public static IEnumerable<TheoryDataRow<int>> ArchitecturesOfModules =>
        TestDriver.Architectures(80, 86, 89, 90).Select(a => new TheoryDataRow<int>(a) { Skip = TestDriver.WhyNot(a) });

    // From the image in device memory to its class map: preprocessing and class map are two more than the plan's.
    [Theory]
    [MemberData(nameof(ArchitecturesOfModules))]
    public void ANetworkTakesFewLaunches_WithAllFusions(int architecture)
    {
        using CudaBackend backend = Open(architecture, CudaElement.Float16);
        Assert.SkipWhen(backend.Kernels.Context.Device.ComputeCapability.Number < 80, "fused modules are for sm_80 and newer");
        foreach ((DwrSegConfig config, int most) in new[] { (DwrSegConfig.Base(), 30), (DwrSegConfig.Large(), 42) })
        {
            using ITensorStore store = backend.CreateStore();
            LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(config, 1, 512, 1024));
            ModelWeights.Initialize(graph, store, 1);
            using var plan = (CudaPlan)backend.Compile(graph, store, new PlanOptions { Fuse = Fusion.All });
            int launches = plan.Covers.Sum(c => c.Launches.Count) + 2;
            output.WriteLine($"sm_{architecture}: {launches}");
            Assert.True(launches <= most, $"{launches} launches:\n{string.Join('\n', plan.Covers.Select(c => $"{c.Launches.Count} {c.Name}"))}");
            // Nobody's time or model has a say.
            using var unfused = (CudaPlan)backend.Compile(graph, store, new PlanOptions { Fuse = Fusion.None });
            Assert.All(unfused.Covers.Zip(unfused.Summary.Steps), c => Assert.Single(c.Second.Nodes));
        }
    }

    // Where two classes' logits are within fp16's rounding of each other either may win: at most a hundredth of the pixels.
    [Fact]
    public void TheShippedModelsClassMapIsTheProcessors()
    {
        RgbImage image = ImageCodec.Decode(RepositoryFile("samples", "street.png"));
        double agreement = Agreement(CudaElement.Float16, image.Pixels, image.Width, image.Height);
        output.WriteLine($"fp16: {100 * agreement:F3} %");
        Assert.True(agreement >= 0.99, $"{100 * agreement:F2} % of the pixels agree");
    }

    [Fact]
    public void TheShippedModelsClassMapIsTheProcessors_OnRealFrames()
    {
        SegmentationDataset frames = SegmentationDataset.Open(RealCamVid.Root, "test");
        foreach (int i in new[] { 0, frames.Count / 2 })
        {
            SegmentationSample frame = frames.Load(i);
            double agreement = Agreement(CudaElement.Float16, frame.Rgb, frame.Width, frame.Height);
            output.WriteLine($"{frame.Name}, fp16: {100 * agreement:F3} %");
            Assert.True(agreement >= 0.99, $"{frame.Name}: {100 * agreement:F2} % of the pixels agree");
        }
    }

    private static double Agreement(CudaElement element, ReadOnlySpan<byte> rgb, int width, int height)
    {
        string model = RepositoryFile("models", "dwrseg-base-camvid.safetensors");
        byte[] onCpu = new byte[width * height], onCuda = new byte[onCpu.Length];
        using (Segmenter segmenter = Segmenter.Load(model, new SegmenterOptions { Device = "cpu" }))
            segmenter.Run(rgb, width, height, 3 * width, PixelFormat.Rgb, onCpu);
        ICudaDriver driver = TestDriver.Open(90);
        using (driver as IDisposable)
        using (Segmenter segmenter = EmulatedSegmenter.Load(model, driver, element))
            segmenter.Run(rgb, width, height, 3 * width, PixelFormat.Rgb, onCuda);
        return onCpu.Zip(onCuda).Count(p => p.First == p.Second) / (double)onCpu.Length;
    }

    private static float[] Logits(IBackend backend, SafetensorsFile file, LayerGraph graph, float[] image)
    {
        using IBackend disposed = backend;
        using ITensorStore store = backend.CreateStore();
        ModelWeights.Load(file, graph, store, "param.");
        using IPlan plan = backend.Compile(graph, store);
        plan.Write(graph[DwrSegModel.Image], image);
        plan.Run();
        float[] logits = new float[graph[DwrSegModel.Logits].Shape.Elements];
        plan.Read(graph[DwrSegModel.Logits], logits);
        return logits;
    }

    private static float[] Image(SafetensorsFile file, int[] shape)
    {
        int plane = shape[2] * shape[3];
        float[] nchw = new float[shape[0] * shape[1] * plane], nhwc = new float[nchw.Length];
        file.ReadFloats("input", nchw);
        for (int i = 0; i < nchw.Length; i++)
        {
            int image = i / (shape[1] * plane), channel = i / plane % shape[1], pixel = i % plane;
            nhwc[(image * plane + pixel) * shape[1] + channel] = nchw[i];
        }
        return nhwc;
    }

    private static double RelativeError(float[] found, float[] expected) =>
        Math.Sqrt(found.Zip(expected).Sum(p => Math.Pow((double)p.First - p.Second, 2)) / expected.Sum(e => (double)e * e));

    private static CudaBackend Open(int architecture, CudaElement element) => TestDriver.OpenBackend(architecture, element);

    private static string RepositoryFile(params string[] path)
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            string file = Path.Combine([folder.FullName, .. path]);
            if (File.Exists(file)) return file;
        }
        throw new FileNotFoundException(Path.Combine(path));
    }
}
