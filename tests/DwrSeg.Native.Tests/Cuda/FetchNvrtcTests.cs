using System.Diagnostics;
using DwrSeg.Native.Tests.Formats;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda;

/// <summary><c>scripts/fetch-nvrtc.sh</c> on machines that have an NVRTC.</summary>
public sealed class FetchNvrtcTests
{
    [Theory]
    [InlineData("CUDA_HOME", "lib64/libnvrtc.so.12")]
    [InlineData("CUDA_PATH", "lib/libnvrtc.so.13")]
    [InlineData("DWRSEG_CUDA_PATH", "libnvrtc.so.11.2")]
    [InlineData("VIRTUAL_ENV", "lib/python3.13/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12")]
    public void WhatIsInstalledIsEnough(string variable, string library)
    {
        if (OperatingSystem.IsWindows())
        {
            Assert.Skip("a shell script");
            return;
        }
        using TemporaryFolder folder = new();
        string script = folder.File("scripts/fetch-nvrtc.sh"), file = folder.File($"its place/{library}");
        Directory.CreateDirectory(Path.GetDirectoryName(script)!);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.Copy(Path.Combine(AppContext.BaseDirectory, "documents", "scripts", "fetch-nvrtc.sh"), script);
        File.WriteAllText(file, "");
        ProcessStartInfo start = new("bash", [script]) { RedirectStandardOutput = true };
        // Nothing may be fetched: it would come from this.
        string fetcher = folder.File("bin/apt-get");
        Directory.CreateDirectory(Path.GetDirectoryName(fetcher)!);
        File.WriteAllText(fetcher, "#!/bin/sh\nexit 1\n");
        File.SetUnixFileMode(fetcher, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        start.Environment["PATH"] = $"{folder.File("bin")}:{Environment.GetEnvironmentVariable("PATH")}";
        start.Environment[variable] = folder.File("its place");
        using Process process = Process.Start(start)!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
        Assert.StartsWith("NVRTC is installed: ", output, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder.File(".tools")));
    }
}
