using System.Globalization;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;

namespace DwrSeg.Bench;

/// <summary>Amount of work per second at the median, in units of 1e9.</summary>
public sealed class RateColumn(string name, Func<IWork, long> amount, string legend) : IColumn
{
    public string Id => $"{nameof(RateColumn)}.{name}";

    public string ColumnName => name;

    public bool AlwaysShow => true;

    public ColumnCategory Category => ColumnCategory.Custom;

    public int PriorityInCategory => 0;

    public bool IsNumeric => true;

    public UnitType UnitType => UnitType.Dimensionless;

    public string Legend => legend;

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase)
    {
        long work = benchmarkCase.Parameters.Items.Select(p => p.Value).OfType<IWork>().Sum(amount);
        double? nanoseconds = summary[benchmarkCase]?.ResultStatistics?.Median;
        return work == 0 || nanoseconds is null ? "-" : (work / nanoseconds.Value).ToString("F1", CultureInfo.InvariantCulture);
    }

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) => GetValue(summary, benchmarkCase);

    public bool IsAvailable(Summary summary) => true;

    public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;
}
