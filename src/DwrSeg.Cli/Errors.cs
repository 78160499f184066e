using System.CommandLine;
using System.CommandLine.Parsing;
using System.Diagnostics;
using System.Globalization;
using DwrSeg.Native;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Data;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Training;

namespace DwrSeg.Cli;

/// <summary>The command line asks for something that can't be done; the message says what to change.</summary>
internal sealed class UsageException(string message) : Exception(message);

/// <summary>Turns an exception into one line on stderr and an exit code.</summary>
internal static class Errors
{
    private static readonly bool ShowsTrace = Environment.GetEnvironmentVariable("DWRSEG_DEBUG") is { Length: > 0 } and not "0";

    // The first row whose type fits decides. What is in no row is a fault of the program.
    private static readonly (Type Type, int ExitCode)[] Codes =
    [
        (typeof(UsageException), ExitCode.Usage),
        (typeof(ArgumentException), ExitCode.Usage),
        (typeof(DeviceUnavailableException), ExitCode.Usage),
        (typeof(WeightsFormatException), ExitCode.BadFile),
        (typeof(ImageFormatException), ExitCode.BadFile),
        (typeof(DataFormatException), ExitCode.BadFile),
        (typeof(DatasetException), ExitCode.BadFile),
        (typeof(IOException), ExitCode.BadFile),
        (typeof(UnauthorizedAccessException), ExitCode.BadFile),
        (typeof(TrainingException), ExitCode.Failed),
        (typeof(CudaException), ExitCode.Failed),
        (typeof(KernelCompilationException), ExitCode.Failed),
        (typeof(OutOfMemoryException), ExitCode.Failed),
    ];

    /// <summary>Reports <paramref name="exception"/> and gives the exit code that the process should end with.</summary>
    public static int Report(Exception exception)
    {
        if (exception is OperationCanceledException)
        {
            WriteLine("interrupted");
            return ExitCode.Interrupted;
        }
        (string message, int exitCode) = Describe(exception);
        WriteLine(message);
        if (ShowsTrace) Console.Error.WriteLine(exception);
        return exitCode;
    }

    /// <summary>What to say about an exception, and the exit code.</summary>
    internal static (string Message, int ExitCode) Describe(Exception exception)
    {
        int row = Array.FindIndex(Codes, c => c.Type.IsInstanceOfType(exception));
        string message = exception switch
        {
            InsufficientMemoryException => exception.Message,
            OutOfMemoryException => "out of memory; choose a smaller --size or --batch",
            _ when row < 0 => $"internal error: {exception.GetType().Name}: {exception.Message} (DWRSEG_DEBUG=1 shows where)",
            // Names of parameters mean nothing on a command line.
            ArgumentException { ParamName: { } name } => exception.Message.Replace($" (Parameter '{name}')", "", StringComparison.Ordinal),
            _ => exception.Message,
        };
        return (message, row < 0 ? ExitCode.Failed : Codes[row].ExitCode);
    }

    /// <summary>Reports what the parser found.</summary>
    public static int ReportUsage(ParseResult parsed)
    {
        string command = parsed.CommandResult.Command is RootCommand ? "dwrseg" : $"dwrseg {parsed.CommandResult.Command.Name}";
        WriteLine($"{string.Join(" ", parsed.Errors.Select(e => e.Message).Distinct())} Try '{command} --help'.");
        return ExitCode.Usage;
    }

    /// <summary>What to say where a value is empty, which no command can use: a variable that is not set, more often than not.</summary>
    public static UsageException? FindEmpty(ParseResult parsed)
    {
        int empty = parsed.Tokens.Select(token => token.Value.Length == 0).ToList().IndexOf(true);
        if (empty < 0) return null;
        string name = empty > 0 && parsed.Tokens[empty - 1].Type == TokenType.Option ? parsed.Tokens[empty - 1].Value : "An argument";
        return new UsageException($"{name} is empty; give a value or leave it out.");
    }

    /// <summary>Lets what the library warns of be written to stderr too.</summary>
    public static void ShowWarnings()
    {
        // The default one writes to a debugger, and on some systems to their log.
        Trace.Listeners.Clear();
        Trace.Listeners.Add(new WarningLines());
    }

    private sealed class WarningLines : TraceListener
    {
        public override void Write(string? message)
        {
        }

        public override void WriteLine(string? message)
        {
        }

        // An assertion that does not hold is no warning: it ends the process, as without a listener of one's own.
        public override void Fail(string? message, string? detailMessage)
        {
            using var usual = new DefaultTraceListener();
            usual.Fail(message, detailMessage);
        }

        public override void TraceEvent(TraceEventCache? eventCache, string source, TraceEventType eventType, int id, string? message) =>
            Errors.WriteLine(message ?? "");

        public override void TraceEvent(
            TraceEventCache? eventCache, string source, TraceEventType eventType, int id, string? format, params object?[]? arguments) =>
            TraceEvent(eventCache, source, eventType, id, string.Format(CultureInfo.InvariantCulture, format ?? "", arguments ?? []));
    }

    private static void WriteLine(string message) => Console.Error.WriteLine($"dwrseg: {message.ReplaceLineEndings(" ")}");
}
