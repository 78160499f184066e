namespace DwrSeg.Cli;

/// <summary>What the process answers with. The one place where exit codes are decided.</summary>
internal static class ExitCode
{
    public const int Ok = 0;

    /// <summary>The work was done and its answer is no (a failed check), or it failed for a reason that is not the caller's.</summary>
    public const int Failed = 1;

    /// <summary>The command line cannot be carried out: unknown option, value out of range, a device that is not there.</summary>
    public const int Usage = 2;

    /// <summary>A file is missing, damaged, not what it should be, or can't be written.</summary>
    public const int BadFile = 3;

    /// <summary>Ctrl-C, as shells number it: 128 + SIGINT.</summary>
    public const int Interrupted = 130;

    public const string Documentation =
        "Exit codes: 0 done; 1 the work failed (such as a failed check); 2 bad usage, or a device that is not there; " +
        "3 a file is missing, damaged or can't be written; 130 interrupted. " +
        "Errors are one line on stderr; DWRSEG_DEBUG=1 adds the stack trace. " +
        "Output is plain when it is not a terminal or NO_COLOR is set.";
}
