using BenchmarkDotNet.Attributes;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;

namespace DwrSeg.Bench;

/// <summary>
/// The launches of DWRSeg-B's plan one by one, at 512x1024 in the device's own precision, then of each kernel that prepares weights, or that only
/// another precision or no fusion takes, the largest: so each kernel has a row. Many launches are one CUDA graph, so that the time of an operation is
/// the kernel's and not the launch's from the host; they follow each other as a frame's do, and the caches hold what the launch before left.
/// </summary>
[NeedsCuda]
public class CudaKernelBenchmarks
{
    private const int Repeats = 20;

    private CudaGraphExec? _launches;

    [ParamsSource(nameof(Launches))]
    public LaunchCase Launch { get; set; } = null!;

    public static IEnumerable<LaunchCase> Launches => LaunchCase.All;

    [GlobalSetup]
    public void Setup()
    {
        using CudaGraph graph = Launch.Stream.Capture(stream =>
        {
            var sequence = new LaunchSequence(stream);
            for (int i = 0; i < Repeats; i++) sequence.Add(Launch.Launch);
        });
        _launches = graph.Instantiate();
    }

    [Benchmark(OperationsPerInvoke = Repeats)]
    public void Run()
    {
        _launches!.Launch(Launch.Stream);
        Launch.Stream.Synchronize();
    }

    [GlobalCleanup]
    public void Cleanup() => _launches!.Dispose();
}
