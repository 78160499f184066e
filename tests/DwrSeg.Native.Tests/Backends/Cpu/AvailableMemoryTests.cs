using DwrSeg.Native.Backends;
using DwrSeg.Native.Backends.Cpu;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;
using DwrSeg.Native.Tests.Models;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cpu;

public sealed class AvailableMemoryTests
{
    private const long Mebibyte = 1 << 20;

    [Fact]
    public void APlanLargerThanWhatIsFreeIsRefused()
    {
        long free = 0;
        using var backend = new CpuBackend(1, () => free);
        using ITensorStore store = backend.CreateStore();
        LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(SmallModel.Config, 1, 64, 64));
        var error = Assert.Throws<InsufficientMemoryException>(() => backend.Compile(graph, store));
        Assert.Contains("0 MiB to spare", error.Message, StringComparison.Ordinal);
        free = 64 * Mebibyte;
        using IPlan plan = backend.Compile(graph, store);
        free = plan.Summary.ArenaBytes;
        backend.Compile(graph, store).Dispose();
        free--;
        Assert.Throws<InsufficientMemoryException>(() => backend.Compile(graph, store));
    }

    [Fact]
    public void LinuxTellsWhatItCanFree() => Assert.Equal(3000 * 1024L, OnLinux(new()
    {
        ["/proc/meminfo"] = "MemTotal:        8000 kB\nMemFree:         1000 kB\nMemAvailable:    3000 kB\nBuffers:    5 kB\n",
    }));

    [Fact]
    public void TheTightestControlGroupDecides_AndItsFileCacheCountsAsFree()
    {
        Dictionary<string, string> files = new()
        {
            ["/proc/meminfo"] = "MemAvailable: 8000000 kB\n",
            ["/proc/self/cgroup"] = "0::/user/job\n",
            ["/sys/fs/cgroup/user/job/memory.max"] = "max\n",
            ["/sys/fs/cgroup/user/job/memory.current"] = "1000\n",
            ["/sys/fs/cgroup/user/memory.max"] = $"{100 * Mebibyte}\n",
            ["/sys/fs/cgroup/user/memory.current"] = $"{70 * Mebibyte}\n",
            ["/sys/fs/cgroup/user/memory.stat"] = $"anon 5\ninactive_file {15 * Mebibyte}\nactive_file {5 * Mebibyte}\n",
            ["/sys/fs/cgroup/memory.max"] = $"{900 * Mebibyte}\n",
            ["/sys/fs/cgroup/memory.current"] = $"{100 * Mebibyte}\n",
        };
        Assert.Equal(50 * Mebibyte, OnLinux(files));
        files["/sys/fs/cgroup/user/job/memory.max"] = $"{10 * Mebibyte}";
        Assert.Equal(10 * Mebibyte - 1000, OnLinux(files));
    }

    [Fact]
    public void ControlGroupsOfTheFirstKindAreFound_AlsoWhereThePathIsTheHosts()
    {
        Dictionary<string, string> files = new()
        {
            ["/proc/self/cgroup"] = "9:name=systemd:/x\n4:cpu,memory:/docker/abc\n1:cpuset:/\n",
            ["/sys/fs/cgroup/memory/memory.limit_in_bytes"] = $"{100 * Mebibyte}\n",
            ["/sys/fs/cgroup/memory/memory.usage_in_bytes"] = $"{60 * Mebibyte}\n",
            ["/sys/fs/cgroup/memory/memory.stat"] = $"inactive_file 1\ntotal_inactive_file {4 * Mebibyte}\ntotal_active_file {1 * Mebibyte}\n",
        };
        Assert.Equal(45 * Mebibyte, OnLinux(files));
        files["/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes"] = "9000\n";
        files["/sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes"] = "8000\n";
        Assert.Equal(1000, OnLinux(files));
    }

    [Fact]
    public void ThisMachineHasSomeAndNotMoreThanItsMemory() =>
        Assert.InRange(AvailableMemory.Bytes(), 1, GC.GetGCMemoryInfo().TotalAvailableMemoryBytes);

    private static long OnLinux(Dictionary<string, string> files) => AvailableMemory.OnLinux(files.GetValueOrDefault);
}
