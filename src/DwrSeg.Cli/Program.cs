using System.CommandLine;
using System.CommandLine.Invocation;
using DwrSeg.Cli;
using DwrSeg.PtxEmulator;

RootCommand root = new(
    "Real-time semantic segmentation with DWRSeg (arXiv 2212.01173): image in, one class per pixel out.\n\n" + ExitCode.Documentation)
{
    SegmentCommand.Create(),
    TrainCommand.Create(),
    EvalCommand.Create(),
    SceneCommand.Create(),
    CheckCommand.Create(),
    InfoCommand.Create(),
    BenchCommand.Create(),
    ProfileCommand.Create(),
    KernelsCommand.Create(),
};
ExampleHelp.Install(root);
EmulatedDevice.Register();
Errors.ShowWarnings();

// No "did you mean" dump with the whole help: one line on stderr, like every other error.
ParseResult parsed;
try
{
    parsed = root.Parse(args);
}
catch (InvalidOperationException e)
{
    // A validator asked for a value that is no number, before the parser came to report it.
    string command = args.Length > 0 && root.Subcommands.Any(c => c.Name == args[0]) ? $"dwrseg {args[0]}" : "dwrseg";
    return Errors.Report(new UsageException($"{e.Message} Try '{command} --help'."));
}
if (parsed.Errors.Count > 0 && parsed.Action is ParseErrorAction) return Errors.ReportUsage(parsed);
if (Errors.FindEmpty(parsed) is { } empty) return Errors.Report(empty);
try
{
    using var interruption = Interruption.Watch();
    // Ctrl-C is Interruption's: the parser's own handling would end the process two seconds later, in the middle of a checkpoint.
    return await parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
}
catch (Exception e)
{
    return Errors.Report(e);
}
