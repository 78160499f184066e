using Spectre.Console;

namespace DwrSeg.Cli;

/// <summary>Tables and progress for people at a terminal, plain lines for pipes and files.</summary>
internal static class Terminal
{
    /// <summary>True where standard output is a terminal and NO_COLOR is not set.</summary>
    public static bool IsRich { get; } = !Console.IsOutputRedirected && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));

    /// <summary>Writes a table. Columns whose header ends in '&gt;' are aligned to the right; the sign itself is not shown.</summary>
    public static void WriteTable(IReadOnlyList<string> headers, IReadOnlyList<string[]> rows)
    {
        if (IsRich) WriteRich(headers, rows);
        else WritePlain(headers, rows);
    }

    /// <summary>Runs work that reports how many of <paramref name="count"/> parts are done; a bar on a terminal, nothing elsewhere.</summary>
    public static T WithProgress<T>(string title, int count, Func<Action<int>, T> work) => IsRich ? WithBar(title, count, work) : work(_ => { });

    private static T WithBar<T>(string title, int count, Func<Action<int>, T> work) => AnsiConsole.Progress()
        .AutoClear(true)
        .AutoRefresh(false)
        .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn())
        .Start(context =>
        {
            ProgressTask task = context.AddTask(title, maxValue: count);
            ProgressDrawing drawing = new(context);
            drawing.Changed();
            return work(done =>
            {
                task.Value = done;
                drawing.Changed();
            });
        });

    // In a method of its own, so that a plain run never loads the library behind it.
    private static void WriteRich(IReadOnlyList<string> headers, IReadOnlyList<string[]> rows)
    {
        var table = new Table { Border = TableBorder.Rounded };
        foreach (string header in headers)
        {
            var column = new TableColumn(Markup.Escape(header.TrimEnd('>')));
            table.AddColumn(IsRightAligned(header) ? column.RightAligned() : column);
        }
        foreach (string[] row in rows) table.AddRow(Array.ConvertAll(row, Markup.Escape));
        AnsiConsole.Write(table);
    }

    private static void WritePlain(IReadOnlyList<string> headers, IReadOnlyList<string[]> rows)
    {
        string[] titles = [.. headers.Select(h => h.TrimEnd('>'))];
        int[] widths = [.. titles.Select((title, i) => rows.Select(r => r[i].Length).Append(title.Length).Max())];
        foreach (string[] row in rows.Prepend(titles))
        {
            IEnumerable<string> cells = row.Select((cell, i) => IsRightAligned(headers[i]) ? cell.PadLeft(widths[i]) : cell.PadRight(widths[i]));
            Console.Out.WriteLine(string.Join("  ", cells).TrimEnd());
        }
    }

    private static bool IsRightAligned(string header) => header.EndsWith('>');
}
