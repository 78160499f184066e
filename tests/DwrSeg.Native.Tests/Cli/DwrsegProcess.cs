using System.Diagnostics;
using System.Runtime.InteropServices;
using DwrSeg.Native.Tests.Cuda;
using Xunit;

namespace DwrSeg.Native.Tests.Cli;

/// <summary>The built <c>dwrseg</c> in a process of its own, as a shell sees it: arguments in, exit code and two texts out.</summary>
internal sealed partial class DwrsegProcess : IDisposable
{
    // Only there so that a hang fails instead of blocking; the slowest run takes a few seconds.
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(3);

    private readonly Process _process;
    private readonly Task<string> _error;

    private DwrsegProcess(IEnumerable<KeyValuePair<string, string>> environment, params ReadOnlySpan<string> arguments)
    {
        // The emulator runs what the compiler makes of the kernels.
        if (arguments.Contains("emulated") || (arguments is ["kernels", ..] && !arguments.Contains("--help"))) TestNvrtc.Require();
        var start = new ProcessStartInfo(Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet")
        {
            RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true,
        };
        start.Environment.Remove("DWRSEG_DEBUG");
        foreach ((string name, string value) in environment) start.Environment[name] = value;
        start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "dwrseg.dll"));
        foreach (string argument in arguments) start.ArgumentList.Add(argument);
        _process = Process.Start(start)!;
        _process.StandardInput.Close();
        _error = _process.StandardError.ReadToEndAsync();
    }

    /// <summary>Lines of standard output as they come.</summary>
    public StreamReader Output => _process.StandardOutput;

    /// <summary>Runs it to its end.</summary>
    public static DwrsegResult Run(params ReadOnlySpan<string> arguments)
    {
        using DwrsegProcess process = new([], arguments);
        return process.Finish();
    }

    /// <summary>Runs it to its end with these variables beside the test's own.</summary>
    public static DwrsegResult RunWith(IEnumerable<KeyValuePair<string, string>> environment, params ReadOnlySpan<string> arguments)
    {
        using DwrsegProcess process = new(environment, arguments);
        return process.Finish();
    }

    /// <summary>Starts it.</summary>
    public static DwrsegProcess Start(params ReadOnlySpan<string> arguments) => new([], arguments);

    /// <summary>Reads what is left and waits for the end.</summary>
    public DwrsegResult Finish()
    {
        Task<string> output = Output.ReadToEndAsync();
        if (!_process.WaitForExit(Limit))
        {
            _process.Kill();
            Assert.Fail($"dwrseg did not end within {Limit}.");
        }
        return new DwrsegResult(_process.ExitCode, output.GetAwaiter().GetResult(), _error.GetAwaiter().GetResult());
    }

    /// <summary>Sends a signal by its number.</summary>
    public void Signal(int signal) => Assert.Equal(0, Kill(_process.Id, signal));

    public void Dispose()
    {
        if (!_process.HasExited) _process.Kill();
        _process.Dispose();
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);
}

/// <summary>How a run ended.</summary>
internal sealed record DwrsegResult(int ExitCode, string Output, string Error)
{
    public string[] Lines => Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>It did its work and had nothing to complain about. Returns itself.</summary>
    public DwrsegResult Succeeded()
    {
        Assert.True(ExitCode == 0, $"exit code {ExitCode}: {Error}");
        Assert.Equal("", Error);
        return this;
    }

    /// <summary>It failed with that code and one line on stderr, which is no stack trace and holds <paramref name="part"/>.</summary>
    public DwrsegResult Failed(int exitCode, string part)
    {
        Assert.True(ExitCode == exitCode, $"exit code {ExitCode}, not {exitCode}: {Error}{Output}");
        string line = Assert.Single(Error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.StartsWith("dwrseg: ", line, StringComparison.Ordinal);
        Assert.Contains(part, line, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", line, StringComparison.Ordinal);
        Assert.DoesNotContain("internal error", line, StringComparison.Ordinal);
        Assert.DoesNotContain("(Parameter", line, StringComparison.Ordinal);
        return this;
    }
}
