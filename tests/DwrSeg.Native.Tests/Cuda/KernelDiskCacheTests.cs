using System.Diagnostics;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Tests.Formats;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda;

public sealed class KernelDiskCacheTests : IDisposable
{
    private const string WorkerVariable = "DWRSEG_TEST_CACHE_WORKER";

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void KernelComesBackAsItWasWritten()
    {
        var cache = new KernelDiskCache(_folder.Path);
        CompiledKernel kernel = Kernel(1, 10_000) with { Log = "a warning: größer" };
        Assert.Null(cache.TryRead(Key(1)));
        cache.Write(Key(1), kernel);
        CompiledKernel read = new KernelDiskCache(_folder.Path).TryRead(Key(1))!;
        Assert.Equal((kernel.LoweredName, kernel.ParameterBytes, kernel.Log), (read.LoweredName, read.ParameterBytes, read.Log));
        Assert.Equal(kernel.Image, read.Image);
        Assert.Null(cache.TryRead(Key(2)));
    }

    [Fact]
    public void TruncatedFileIsDeletedAtAnyLength()
    {
        var cache = new KernelDiskCache(_folder.Path);
        cache.Write(Key(1), Kernel(1, 50));
        byte[] whole = File.ReadAllBytes(OnlyFile());
        for (int length = 0; length < whole.Length; length++) AssertRefused(cache, whole[..length]);
        AssertRefused(cache, [.. whole, 0]);
    }

    [Fact]
    public void ChangeOfAnyByteIsNoticed()
    {
        var cache = new KernelDiskCache(_folder.Path);
        cache.Write(Key(1), Kernel(1, 50));
        byte[] whole = File.ReadAllBytes(OnlyFile());
        for (int i = 0; i < whole.Length; i++)
        {
            byte[] changed = [.. whole];
            changed[i] ^= 0x10;
            AssertRefused(cache, changed);
        }
        Assert.Null(cache.Problem);
    }

    [Fact]
    public void EntryOfAnotherKeyIsRefused()
    {
        var cache = new KernelDiskCache(_folder.Path);
        cache.Write(Key(1), Kernel(1, 50));
        string first = OnlyFile();
        cache.Write(Key(2), Kernel(2, 50));
        File.Copy(first, PathOf(2), overwrite: true);
        Assert.Null(cache.TryRead(Key(2)));
        Assert.False(File.Exists(PathOf(2)));
        Assert.NotNull(cache.TryRead(Key(1)));
    }

    [Fact]
    public void LeastRecentlyUsedGoesFirst()
    {
        var cache = new KernelDiskCache(_folder.Path, maxBytes: 3500);
        DateTime day = DateTime.UtcNow.Date.AddDays(-10);
        for (int i = 1; i <= 3; i++)
        {
            cache.Write(Key(i), Kernel(i, 1000));
            File.SetLastAccessTimeUtc(PathOf(i), day.AddDays(i));
        }
        Assert.NotNull(cache.TryRead(Key(1))); // now the youngest
        cache.Write(Key(4), Kernel(4, 1000));
        Assert.Equal([true, false, true, true], Enumerable.Range(1, 4).Select(i => File.Exists(PathOf(i))));
    }

    [Fact]
    public void KernelLargerThanTheBoundIsNotKept()
    {
        var cache = new KernelDiskCache(_folder.Path, maxBytes: 500);
        cache.Write(Key(1), Kernel(1, 1000));
        Assert.Null(cache.TryRead(Key(1)));
        Assert.Null(cache.Problem);
    }

    [Fact]
    public void OldLeftoverIsRemovedAndAYoungOneKept()
    {
        string old = _folder.File($".{Key(7)}.dwrk.1-1.tmp"), young = _folder.File($".{Key(8)}.dwrk.1-1.tmp");
        File.WriteAllText(old, "half");
        File.WriteAllText(young, "half");
        File.SetLastWriteTimeUtc(old, DateTime.UtcNow.AddHours(-2));
        new KernelDiskCache(_folder.Path).Write(Key(1), Kernel(1, 10));
        Assert.Equal((false, true), (File.Exists(old), File.Exists(young)));
    }

    [Fact]
    public void FolderThatCannotBeWrittenIsSaidOnceAndOnlyEndsTheCaching()
    {
        // A file in the way holds for every user, root included.
        File.WriteAllText(_folder.File("file"), "");
        var said = new List<string?>();
        var cache = new KernelDiskCache(_folder.File("file"), warn: (_, text) => said.Add(text));
        cache.Write(Key(1), Kernel(1, 10));
        cache.Write(Key(2), Kernel(2, 10));
        Assert.Null(cache.TryRead(Key(1)));
        Assert.Equal([cache.Problem], said);
        Assert.Contains(KernelDiskCache.FolderVariable, cache.Problem, StringComparison.Ordinal);
    }

    [Fact]
    public void CachesOfAFolderThatCannotBeWrittenSayTheSame()
    {
        // No user can make files there, root included.
        const string Folder = "/proc";
        Assert.SkipUnless(OperatingSystem.IsLinux(), "needs a folder that nobody can write");
        var said = new List<(string About, string Text)>();
        foreach (int number in new[] { 1, 2 })
        {
            new KernelDiskCache(Folder, warn: (about, text) => said.Add((about, text))).Write(Key(number), Kernel(number, 10));
            new TimedChoices(Folder, warn: (about, text) => said.Add((about, text))).Remember($"{number}", "native");
        }
        Assert.Equal(4, said.Select(s => s.Text).Distinct().Count());
        Assert.Equal(["compiled kernels are not kept: /proc", "timed choices are not kept: /proc"], said.Select(s => s.About).Distinct());
        Warnings.Listen();
        foreach ((string about, string text) in said) Notices.Tell($"{about}, by this test", text);
        Assert.Equal(2, said.Sum(s => Warnings.With(s.Text).Count));
    }

    [Fact]
    public void ProcessesAndThreadsShareAFolder()
    {
        // Small enough that they evict each other's entries while they read.
        Process[] processes = [StartWorker(1), StartWorker(2)];
        Parallel.For(3, 5, Work);
        foreach (Process process in processes)
        {
            string output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            Assert.True(process.ExitCode == 0, output);
            process.Dispose();
        }
        Assert.Empty(Directory.GetFiles(_folder.Path, "*.tmp"));
        Assert.InRange(Directory.GetFiles(_folder.Path).Sum(f => new FileInfo(f).Length), 1, 40_000);
    }

    [Fact]
    public void Worker()
    {
        string? setting = Environment.GetEnvironmentVariable(WorkerVariable);
        Assert.SkipWhen(setting is null, "runs in processes that another test starts");
        string[] parts = setting!.Split('|');
        Work(int.Parse(parts[0]), parts[1]);
    }

    [Theory]
    [InlineData("DWRSEG_KERNEL_CACHE=/a XDG_CACHE_HOME=/b HOME=/c", "/a")]
    [InlineData("XDG_CACHE_HOME=/b HOME=/c", "/b/dwrseg/kernels")]
    [InlineData("XDG_CACHE_HOME=b HOME=/c", "/c/.cache/dwrseg/kernels")]
    [InlineData("HOME=/c", "/c/.cache/dwrseg/kernels")]
    [InlineData("HOME=", "/profile/.cache/dwrseg/kernels")]
    public void FolderFollowsTheEnvironment(string environment, string folder)
    {
        var variables = environment.Split(' ').Select(v => v.Split('=')).ToDictionary(v => v[0], v => v[1]);
        Assert.Equal(folder, KernelDiskCache.UserFolder(windows: false, variables.GetValueOrDefault, "/profile"));
    }

    [Fact]
    public void UserWithoutAHomeHasNoCacheInASharedFolder() =>
        Assert.Null(KernelDiskCache.UserFolder(windows: false, _ => null, profile: ""));

    [Fact]
    public void AnEntryThatCannotBeReadOrReplacedLeavesTheOthers()
    {
        var cache = new KernelDiskCache(_folder.Path);
        cache.Write(Key(1), Kernel(1, 10));
        string entry = Assert.Single(Directory.GetFiles(_folder.Path));
        // A folder in its place holds for every user, root included.
        File.Delete(entry);
        Directory.CreateDirectory(Path.Combine(entry, "inside"));
        Assert.Null(cache.TryRead(Key(1)));
        cache.Write(Key(1), Kernel(1, 10));
        cache.Write(Key(2), Kernel(2, 10));
        Assert.Null(cache.Problem);
        Assert.Equal(Kernel(2, 10).Image, cache.TryRead(Key(2))!.Image);
    }

    private void Work(int seed) => Work(seed, _folder.Path);

    private static void Work(int seed, string folder)
    {
        var cache = new KernelDiskCache(folder, maxBytes: 30_000);
        var random = new Random(seed);
        int hits = 0;
        for (int i = 0; i < 300; i++)
        {
            int number = random.Next(12);
            if (cache.TryRead(Key(number)) is { } read)
            {
                Assert.Equal(Kernel(number, 3000).Image, read.Image);
                hits++;
            }
            else
            {
                cache.Write(Key(number), Kernel(number, 3000));
            }
        }
        Assert.Null(cache.Problem);
        Assert.NotEqual(0, hits);
    }

    private Process StartWorker(int seed)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardOutput = true };
        if (Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet") start.ArgumentList.Add(typeof(KernelDiskCacheTests).Assembly.Location);
        start.ArgumentList.Add("-method");
        start.ArgumentList.Add($"{typeof(KernelDiskCacheTests).FullName}.{nameof(Worker)}");
        start.Environment[WorkerVariable] = $"{seed}|{_folder.Path}";
        return Process.Start(start)!;
    }

    private void AssertRefused(KernelDiskCache cache, byte[] content)
    {
        File.WriteAllBytes(PathOf(1), content);
        Assert.Null(cache.TryRead(Key(1)));
        Assert.False(File.Exists(PathOf(1)));
    }

    private string PathOf(int number) => _folder.File($"{Key(number)}.dwrk");

    private string OnlyFile() => Assert.Single(Directory.GetFiles(_folder.Path));

    private static KernelKey Key(int number) => KernelKey.Of(
        new KernelSource("file", $"kernel<{number}>"), "text", [], new NvrtcTarget(new ComputeCapability(8, 0), IsPtx: true), new Version(12, 4));

    private static CompiledKernel Kernel(int number, int bytes)
    {
        var image = new byte[bytes];
        new Random(number).NextBytes(image);
        return new CompiledKernel(image, $"kernel{number}", number, "");
    }
}
