using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using DwrSeg.Bench;

IConfig config = ManualConfig.Create(DefaultConfig.Instance)
    .AddColumn(new RateColumn("GFLOP/s", work => work.Flops, "Floating-point operations, two a multiply, per second"))
    .AddColumn(new RateColumn("GB/s", work => work.Bytes, "Inputs and weights read once and outputs written once, per second"))
    .WithSummaryStyle(SummaryStyle.Default.WithMaxParameterColumnWidth(120));

// In this process: what is measured is the library as built, and no project is generated and compiled for each run.
BenchmarkSwitcher.FromAssembly(typeof(RateColumn).Assembly).Run([.. args, "--inProcess"], config);
