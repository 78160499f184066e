using BenchmarkDotNet.Attributes;
using DwrSeg.Native.Cuda;

namespace DwrSeg.Bench;

/// <summary>
/// The launches of DWRSeg-B's plan one by one, at 512x1024 in the device's own precision. Many are launched as one CUDA graph, so that the
/// time of an operation is the kernel's and not the launch's from the host; the caches hold what the launch before left.
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
        using CudaGraph graph = LaunchCase.Stream.Capture(stream =>
        {
            for (int i = 0; i < Repeats; i++) Launch.Launch.Launch(stream);
        });
        _launches = graph.Instantiate();
    }

    [Benchmark(OperationsPerInvoke = Repeats)]
    public void Run()
    {
        _launches!.Launch(LaunchCase.Stream);
        LaunchCase.Stream.Synchronize();
    }

    [GlobalCleanup]
    public void Cleanup() => _launches!.Dispose();
}
