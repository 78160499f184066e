using System.Runtime.InteropServices;

namespace DwrSeg.Cli;

/// <summary>Ctrl-C and SIGTERM: the first asks the running command to finish cleanly, the second ends the process at once.</summary>
internal sealed class Interruption : IDisposable
{
    private static readonly CancellationTokenSource Source = new();

    private readonly PosixSignalRegistration[] _registrations;

    private Interruption(params PosixSignal[] signals) =>
        _registrations = Array.ConvertAll(signals, signal => PosixSignalRegistration.Create(signal, OnSignal));

    /// <summary>Cancelled by the first signal.</summary>
    public static CancellationToken Token => Source.Token;

    public static Interruption Watch() => new(PosixSignal.SIGINT, PosixSignal.SIGTERM);

    public void Dispose() => Array.ForEach(_registrations, r => r.Dispose());

    private static void OnSignal(PosixSignalContext context)
    {
        if (Source.IsCancellationRequested) Environment.Exit(ExitCode.Interrupted);
        context.Cancel = true;
        Source.Cancel();
    }
}
