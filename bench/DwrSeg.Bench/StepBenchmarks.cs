using BenchmarkDotNet.Attributes;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;

namespace DwrSeg.Bench;

/// <summary>
/// A plan's steps one by one, over the memory that the plan gives them: every layer at DWRSeg's own shapes, in the form in which it runs.
/// </summary>
public abstract class StepBenchmarks
{
    private Network? _network;

    internal abstract StepCase Current { get; }

    internal abstract LayerGraph Graph();

    [GlobalSetup]
    public void Setup()
    {
        _network = new Network(Graph());
        // Every tensor gets the values that a run gives it.
        _network.Plan.Run();
    }

    [Benchmark]
    public void Run() => _network!.Plan.RunStep(Current.Index);

    [GlobalCleanup]
    public void Cleanup() => _network!.Dispose();
}

/// <summary>DWRSeg-B for inference at 512x1024: convolutions with their fused ends, SIR, depth-wise branches, pool, resize.</summary>
public class InferenceStepBenchmarks : StepBenchmarks
{
    [ParamsSource(nameof(Steps))]
    public StepCase Step { get; set; } = null!;

    public static IEnumerable<StepCase> Steps => StepCase.Of(Network.Inference(DwrSegConfig.Base(), 512, 1024));

    internal override StepCase Current => Step;

    internal override LayerGraph Graph() => Network.Inference(DwrSegConfig.Base(), 512, 1024);
}

/// <summary>
/// DWRSeg-B's training step, batch 2 at 360x480: convolutions forward and their data and weight gradients, BN, depth-wise branches, pool and
/// resize in both directions, OHEM cross-entropy, and the update of all weights.
/// </summary>
public class TrainingStepBenchmarks : StepBenchmarks
{
    [ParamsSource(nameof(Steps))]
    public StepCase Step { get; set; } = null!;

    public static IEnumerable<StepCase> Steps => StepCase.Of(Network.Training(DwrSegConfig.Base(), 2, 360, 480));

    internal override StepCase Current => Step;

    internal override LayerGraph Graph() => Network.Training(DwrSegConfig.Base(), 2, 360, 480);
}
