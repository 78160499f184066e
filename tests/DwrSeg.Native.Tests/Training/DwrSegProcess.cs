using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using DwrSeg.Native.Tests.Cuda;
using Xunit;

namespace DwrSeg.Native.Tests.Training;

/// <summary>The <c>dwrseg</c> tool as a process of its own, to be interrupted and killed.</summary>
internal sealed partial class DwrSegProcess : IDisposable
{
    public const int Interrupt = 2;

    private readonly Process _process;
    private readonly StringBuilder _output = new(), _error = new();
    private readonly Lock _gate = new();

    private DwrSegProcess(ProcessStartInfo start)
    {
        // The emulator runs what the compiler makes of the kernels.
        if (start.ArgumentList.Contains("emulated")) TestNvrtc.Require();
        start.RedirectStandardOutput = start.RedirectStandardError = true;
        start.Environment["NO_COLOR"] = "1";
        _process = new Process { StartInfo = start };
        _process.OutputDataReceived += (_, e) => Append(_output, e.Data);
        _process.ErrorDataReceived += (_, e) => Append(_error, e.Data);
        _process.Start();
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    public static string Tool => Path.Combine(AppContext.BaseDirectory, "dwrseg.dll");

    public string Output => Text(_output);

    public string Error => Text(_error);

    public static DwrSegProcess Start(params IEnumerable<string> arguments) =>
        new(new ProcessStartInfo(Environment.ProcessPath is { } host && Path.GetFileNameWithoutExtension(host) == "dotnet" ? host : "dotnet", [Tool, .. arguments]));

    /// <summary>Starts a shell that becomes the tool after <paramref name="setUp"/>, such as a limit.</summary>
    public static DwrSegProcess StartAfter(string setUp, params IEnumerable<string> arguments)
    {
        ProcessStartInfo start = new("bash", ["-c", $"{setUp}; exec dotnet \"$@\"", "bash", Tool, .. arguments]);
        // The runtime would otherwise map its code through a file that is larger than any limit worth setting.
        start.Environment["DOTNET_EnableWriteXorExecute"] = "0";
        return new DwrSegProcess(start);
    }

    /// <summary>Runs to the end, which must be a good one.</summary>
    public static string Run(params IEnumerable<string> arguments)
    {
        using DwrSegProcess process = Start(arguments);
        Assert.True(process.WaitForExit() == 0, process.Error);
        return process.Output;
    }

    /// <summary>Waits until its output holds a text; false where it ended without.</summary>
    public bool WaitFor(string text)
    {
        while (!Output.Contains(text, StringComparison.Ordinal))
        {
            if (!_process.WaitForExit(5)) continue;
            _process.WaitForExit();
            return Output.Contains(text, StringComparison.Ordinal);
        }
        return true;
    }

    public bool WaitForExit(TimeSpan time) => _process.WaitForExit(time);

    public int WaitForExit()
    {
        // It trains for a second or two. The bound ends a test that would otherwise hang.
        if (_process.WaitForExit(TimeSpan.FromMinutes(5)))
        {
            _process.WaitForExit();
            return _process.ExitCode;
        }
        _process.Kill();
        throw new TimeoutException($"dwrseg does not end: {Output} {Error}");
    }

    public void Kill() => _process.Kill();

    public void Signal(int signal) => Assert.True(TrySignal(signal), $"{Output} {Error}");

    /// <summary>False where it has ended already.</summary>
    public bool TrySignal(int signal) => SendSignal(_process.Id, signal) == 0;

    public void Dispose()
    {
        if (!_process.HasExited) _process.Kill();
        _process.Dispose();
    }

    private void Append(StringBuilder text, string? line)
    {
        if (line is null) return;
        lock (_gate) text.Append(line).Append('\n');
    }

    private string Text(StringBuilder text)
    {
        lock (_gate) return text.ToString();
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int SendSignal(int process, int signal);
}
