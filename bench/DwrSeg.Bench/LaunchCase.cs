using DwrSeg.Native;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;

namespace DwrSeg.Bench;

/// <summary>A launch (or a library's call) of DWRSeg-B's plans, standing for all of the same kernel and shapes.</summary>
public sealed class LaunchCase : IWork, IComparable<LaunchCase>, IComparable
{
    // All of the first one's frame; of the others, the largest work of each kernel that was in none before.
    private static readonly (Precision Precision, Fusion Fuse, string Suffix)[] Plans =
        [(Precision.Automatic, Fusion.Auto, ""), (Precision.Float32, Fusion.Auto, ", fp32"), (Precision.Automatic, Fusion.None, ", unfused")];

    private static readonly Lazy<IReadOnlyList<LaunchCase>> Shared = new(Collect);

    // What launches hold by address only.
    private static readonly List<object> KeptAlive = [];

    private readonly int _position;
    private readonly string _layer;

    private LaunchCase(int position, string layer, CudaWork launch, CudaStream stream) =>
        (_position, _layer, Launch, Stream) = (position, layer, launch, stream);

    public static IEnumerable<LaunchCase> All => Shared.Value;

    public long Flops => Launch.Flops;

    public long Bytes => Launch.Bytes;

    internal CudaWork Launch { get; }

    internal CudaStream Stream { get; }

    /// <summary>The plans' order, which is the table's.</summary>
    public int CompareTo(LaunchCase? other) => _position.CompareTo(other?._position);

    public int CompareTo(object? obj) => CompareTo(obj as LaunchCase);

    /// <summary>Kernel, layer and shapes: what a filter can name.</summary>
    public override string ToString() => $"{Launch.Call} {_layer}";

    private static List<LaunchCase> Collect()
    {
        var cases = new List<LaunchCase>();
        foreach ((Precision precision, Fusion fuse, string suffix) in Plans)
        {
            (CudaPlan plan, (string Layer, CudaWork Work)[] works) = Compile(precision, fuse);
            if (cases.Count == 0) Add(works.DistinctBy(w => $"{w.Work} {w.Work.Bytes} {w.Work.Flops}"));
            HashSet<string> known = [.. cases.Select(c => c.Launch.Call)];
            IEnumerable<(string, CudaWork Work)> preparations = plan.Preparations.Select(work => ($"{work.Bytes / 1024.0:0.#} KiB", work));
            Add([.. works.Concat(preparations).Where(w => !known.Contains(w.Work.Call)).GroupBy(w => w.Work.Call)
                .Select(g => g.MaxBy(w => w.Work.Bytes))]);

            void Add(IEnumerable<(string Layer, CudaWork Work)> added) =>
                cases.AddRange([.. added.Select((w, i) => new LaunchCase(cases.Count + i, w.Layer + suffix, w.Work, plan.Stream))]);
        }
        return cases;
    }

    // A plan with its frame's works. Every tensor has memory of its own: what one work needs is still there after the others ran.
    private static (CudaPlan Plan, (string Layer, CudaWork Work)[] Works) Compile(Precision precision, Fusion fuse)
    {
        (int height, int width) = CudaBench.Size;
        LayerGraph graph = Network.Inference(DwrSegConfig.Base(), height, width);
        var backend = (CudaBackend)CudaBench.Open(precision);
        ITensorStore store = backend.CreateStore();
        ModelWeights.Initialize(graph, store, seed: 1);
        var plan = (CudaPlan)backend.Compile(graph, store, new PlanOptions { Guarded = true, Fuse = fuse });
        plan.Run();
        plan.Synchronize();
        // Between an image of another size and the network.
        (int imageHeight, int imageWidth) = (height * 45 / 32, width * 15 / 16);
        var pixels = new CudaDeviceVariable<byte>(backend.Kernels.Context, 3L * imageHeight * imageWidth);
        pixels.MemsetAsync(100, plan.Stream);
        var classes = new CudaDeviceVariable<byte>(backend.Kernels.Context, (long)imageHeight * imageWidth);
        KeptAlive.AddRange([backend, store, plan, pixels, classes]);
        var image = new DeviceImage(pixels.DevicePointer, imageWidth, imageHeight, 3 * imageWidth, PixelFormat.Rgb);
        string size = $"{imageHeight}x{imageWidth}";
        CudaWork first = PreprocessCuda.Prepare(backend.Kernels, image, plan.MapOf(graph[DwrSegModel.Image]), Normalization.ImageNet);
        CudaWork last = ArgMaxHeadCuda.Prepare(
            backend.Kernels, plan.MapOf(graph[DwrSegModel.Logits]), imageHeight, imageWidth, new ByteMap(classes.DevicePointer, imageWidth));
        IEnumerable<(string, CudaWork)> steps =
            plan.Summary.Steps.Zip(plan.Covers).SelectMany(s => s.Second.Launches.Select(work => (LayerOf(s.First), work)));
        return (plan, [($"{size} > {height}x{width}", first), .. steps, ($"{graph[DwrSegModel.Logits].Shape} > {size}", last)]);

        static string LayerOf(StepSummary step) => $"{step.Nodes[0].Name} {step.Nodes[0].Inputs[0].Shape} > {step.Nodes[^1].Output.Shape}";
    }
}
