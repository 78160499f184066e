using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using DwrSeg.Bench;

IConfig config = ManualConfig.Create(DefaultConfig.Instance)
    .AddColumn(new RateColumn("GFLOP/s", work => work.Flops, "Floating-point operations, two a multiply, per second"))
    .AddColumn(new RateColumn("GB/s", work => work.Bytes, "Inputs and weights read once and outputs written once, per second"))
    .WithSummaryStyle(SummaryStyle.Default.WithMaxParameterColumnWidth(120));

Type[] benchmarks = [.. typeof(RateColumn).Assembly.GetTypes().Where(t => !t.IsAbstract && t.GetMethods().Any(m => m.IsDefined(typeof(BenchmarkAttribute), inherit: true)))];
if (CudaBench.WhyNot() is { } reason)
{
    foreach (Type left in benchmarks.Where(t => t.IsDefined(typeof(NeedsCudaAttribute), inherit: false)))
        Console.Error.WriteLine($"{left.Name} is left out: {reason}");
    benchmarks = [.. benchmarks.Where(t => !t.IsDefined(typeof(NeedsCudaAttribute), inherit: false))];
}

// In this process: what is measured is the library as built, no project is generated and compiled for each run, and a published benchmark
// needs no SDK.
BenchmarkSwitcher.FromTypes(benchmarks).Run([.. args, "--inProcess"], config);
