using System.Diagnostics;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cpu;

namespace DwrSeg.Cli;

/// <summary>What one step of a plan takes.</summary>
/// <param name="Step">Its kind, layers, multiplies and compulsory traffic.</param>
/// <param name="Milliseconds">Its fastest run, the whole batch.</param>
/// <param name="Share">Its part of all steps' time.</param>
internal sealed record StepTime(StepSummary Step, double Milliseconds, double Share)
{
    /// <summary>The step's kind and its first layer.</summary>
    public string Name => $"{Step.Name} {Step.Nodes[0].Name}";

    public double Gflops => 2.0 * Step.Multiplies / Milliseconds / 1e6;

    public double GigabytesPerSecond => Step.Bytes / Milliseconds / 1e6;

    /// <summary>Times the steps one by one over some runs and takes each one's minimum; in the plan's order.</summary>
    /// <exception cref="UsageException">The plan's device does not run step by step.</exception>
    public static IReadOnlyList<StepTime> Measure(IPlan plan, int runs)
    {
        if (plan is not CpuPlan cpu) throw new UsageException("--steps works on the CPU only; 'dwrseg profile' times the launches of other devices.");
        long[] ticks = new long[plan.Summary.Steps.Count];
        Array.Fill(ticks, long.MaxValue);
        for (int run = 0; run < runs; run++)
        {
            for (int step = 0; step < ticks.Length; step++)
            {
                long start = Stopwatch.GetTimestamp();
                cpu.RunStep(step);
                ticks[step] = Math.Min(ticks[step], Stopwatch.GetTimestamp() - start);
            }
        }
        double total = ticks.Sum();
        return [.. plan.Summary.Steps.Zip(ticks, (step, t) => new StepTime(step, 1000.0 * t / Stopwatch.Frequency, t / total))];
    }
}
