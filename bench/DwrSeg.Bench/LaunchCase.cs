using DwrSeg.Native;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;

namespace DwrSeg.Bench;

/// <summary>A launch (or a library's call) of DWRSeg-B's plan, standing for all of the same kernel and shapes.</summary>
public sealed class LaunchCase : IWork, IComparable<LaunchCase>, IComparable
{
    // One plan for all cases, with memory of its own for every tensor: what one launch needs is still there after the others ran.
    private static readonly Lazy<(CudaPlan Plan, IReadOnlyList<LaunchCase> Cases)> Shared = new(Compile);

    // What launches hold by address only.
    private static readonly List<object> KeptAlive = [];

    private readonly int _position;
    private readonly string _layer;

    private LaunchCase(int position, string layer, CudaWork launch) => (_position, _layer, Launch) = (position, layer, launch);

    public static IEnumerable<LaunchCase> All => Shared.Value.Cases;

    public long Flops => Launch.Flops;

    public long Bytes => Launch.Bytes;

    internal CudaWork Launch { get; }

    internal static CudaStream Stream => Shared.Value.Plan.Stream;

    /// <summary>The plan's order, which is the table's.</summary>
    public int CompareTo(LaunchCase? other) => _position.CompareTo(other?._position);

    public int CompareTo(object? obj) => CompareTo(obj as LaunchCase);

    /// <summary>Kernel, layer and shapes: what a filter can name.</summary>
    public override string ToString() => $"{Launch.Call} {_layer}";

    private static (CudaPlan, IReadOnlyList<LaunchCase>) Compile()
    {
        (int height, int width) = CudaBench.Size;
        LayerGraph graph = Network.Inference(DwrSegConfig.Base(), height, width);
        var backend = (CudaBackend)CudaBench.Open();
        ITensorStore store = backend.CreateStore();
        ModelWeights.Initialize(graph, store, seed: 1);
        var plan = (CudaPlan)backend.Compile(graph, store, new PlanOptions { Guarded = true });
        plan.Run();
        var cases = new List<LaunchCase>();
        foreach ((StepSummary step, (string _, IReadOnlyList<CudaWork> launches)) in plan.Summary.Steps.Zip(plan.Covers))
        {
            string layer = $"{step.Nodes[0].Name} {step.Nodes[0].Inputs[0].Shape} > {step.Nodes[^1].Output.Shape}";
            foreach (CudaWork launch in launches) cases.Add(new LaunchCase(cases.Count, layer, launch));
        }
        // Between an image of another size and the network.
        (int imageHeight, int imageWidth) = (height * 45 / 32, width * 15 / 16);
        var pixels = new CudaDeviceVariable<byte>(backend.Kernels.Context, 3L * imageHeight * imageWidth);
        pixels.MemsetAsync(100, plan.Stream);
        var classes = new CudaDeviceVariable<byte>(backend.Kernels.Context, (long)imageHeight * imageWidth);
        KeptAlive.AddRange([backend, store, pixels, classes]);
        var image = new DeviceImage(pixels.DevicePointer, imageWidth, imageHeight, 3 * imageWidth, PixelFormat.Rgb);
        string size = $"{imageHeight}x{imageWidth}";
        cases.Insert(0, new LaunchCase(-1, $"{size} > {height}x{width}", PreprocessCuda.Prepare(
            backend.Kernels, image, plan.MapOf(graph[DwrSegModel.Image]), Normalization.ImageNet)));
        cases.Add(new LaunchCase(cases.Count, $"{graph[DwrSegModel.Logits].Shape} > {size}", ArgMaxHeadCuda.Prepare(
            backend.Kernels, plan.MapOf(graph[DwrSegModel.Logits]), imageHeight, imageWidth, new ByteMap(classes.DevicePointer, imageWidth))));
        return (plan, [.. cases.DistinctBy(c => $"{c.Launch} {c.Bytes} {c.Flops}")]);
    }
}
