using System.Reflection;
using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using DwrSeg.Bench;

IConfig config = ManualConfig.Create(DefaultConfig.Instance)
    .AddColumn(new RateColumn("GFLOP/s", work => work.Flops, "Floating-point operations, two a multiply, per second"))
    .AddColumn(new RateColumn("GB/s", work => work.Bytes, "Inputs and weights read once and outputs written once, per second"))
    .WithSummaryStyle(SummaryStyle.Default.WithMaxParameterColumnWidth(120));

IEnumerable<Type> benchmarks = typeof(RateColumn).Assembly.GetTypes()
    .Where(t => !t.IsAbstract && t.GetMethods().Any(m => m.IsDefined(typeof(BenchmarkAttribute), inherit: true)));
var runnable = new List<Type>();
foreach (Type type in benchmarks)
{
    if (type.GetCustomAttribute<NeedsAttribute>()?.WhyNot is { } reason) Console.Error.WriteLine($"{type.Name} is left out: {reason}");
    else runnable.Add(type);
}

// In this process: what is measured is the library as built, no project is generated and compiled for each run, and a published benchmark
// needs no SDK.
BenchmarkSwitcher.FromTypes([.. runnable]).Run([.. args, "--inProcess"], config);
