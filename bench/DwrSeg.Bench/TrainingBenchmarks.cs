using BenchmarkDotNet.Attributes;
using DwrSeg.Native.Models;

namespace DwrSeg.Bench;

/// <summary>A whole training step: forward, backward and update, batch 2 at 360x480.</summary>
[MemoryDiagnoser]
public class TrainingBenchmarks
{
    private Network? _network;

    [GlobalSetup]
    public void Setup() => _network = new Network(Network.Training(DwrSegConfig.Base(), 2, 360, 480));

    [Benchmark]
    public void Step() => _network!.Plan.Run();

    [GlobalCleanup]
    public void Cleanup() => _network!.Dispose();
}
