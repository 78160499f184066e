using DwrSeg.Native.Formats;
using Xunit;

namespace DwrSeg.Native.Tests.Formats;

public sealed class AtomicFileTests
{
    [Fact]
    public void FailureWhileWritingKeepsTheOldFileAndRemovesTheTemporary()
    {
        using TemporaryFolder folder = new();
        string path = folder.File("a.json");
        File.WriteAllText(path, "old");
        Assert.Throws<OperationCanceledException>(() => AtomicFile.Write(path, stream =>
        {
            stream.Write("half of the new"u8);
            stream.Flush();
            throw new OperationCanceledException();
        }));
        Assert.Equal("old", File.ReadAllText(path));
        Assert.Equal([path], Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void OldContentIsVisibleUntilTheNewIsComplete()
    {
        using TemporaryFolder folder = new();
        string path = folder.File("a.json");
        File.WriteAllText(path, "old");
        AtomicFile.Write(path, stream =>
        {
            stream.Write("new"u8);
            stream.Flush();
            Assert.Equal("old", File.ReadAllText(path));
        });
        Assert.Equal("new", File.ReadAllText(path));
    }

    [Fact]
    public void MissingFolderAndFolderAsTargetAreNamed()
    {
        using TemporaryFolder folder = new();
        string inMissing = Path.Combine(folder.Path, "missing", "a.json");
        Assert.Contains("does not exist",
            Assert.Throws<IOException>(() => AtomicFile.Write(inMissing, _ => { })).Message, StringComparison.Ordinal);
        Assert.Contains("is a folder",
            Assert.Throws<IOException>(() => AtomicFile.Write(folder.Path, _ => { })).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void SpaceIsAskedForWhereItIsWhatIsMissing()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "the numbers are Linux's");
        const int NoSpace = 28, ReadOnlyFileSystem = 30;
        using TemporaryFolder folder = new();
        string Message(int error) => Assert.Throws<IOException>(
            () => AtomicFile.Write(folder.File("a.json"), _ => throw new IOException("A reason.", error))).Message;
        Assert.EndsWith("A reason; free some space or choose another folder", Message(NoSpace), StringComparison.Ordinal);
        Assert.EndsWith("A reason; choose another folder", Message(ReadOnlyFileSystem), StringComparison.Ordinal);
    }

    [Fact]
    public void ProbeWritesNothingAndFailsAsAWriteWould()
    {
        using TemporaryFolder folder = new();
        string path = folder.File("a.json");
        AtomicFile.RequireWritable(path);
        Assert.Empty(Directory.GetFileSystemEntries(folder.Path));
        File.WriteAllText(path, "old");
        AtomicFile.RequireWritable(path);
        Assert.Equal("old", File.ReadAllText(path));
        Assert.Contains("does not exist", Assert.Throws<IOException>(() => AtomicFile.RequireWritable(folder.File("none/a.json"))).Message, StringComparison.Ordinal);
        Assert.Contains("is a folder", Assert.Throws<IOException>(() => AtomicFile.RequireWritable(folder.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void FullDiskIsReportedWithThePath()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "needs /dev/full");
        using TemporaryFolder folder = new();
        string path = folder.File("a.json");
        IOException error = Assert.Throws<IOException>(() => AtomicFile.Write(path, _ =>
        {
            using FileStream full = new("/dev/full", FileMode.Open, FileAccess.Write);
            full.Write(new byte[1]);
            full.Flush();
        }));
        Assert.Contains(path, error.Message, StringComparison.Ordinal);
        Assert.Contains("free some space", error.Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void LinkKeepsPointingAtTheReplacedFile()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need a privilege there");
        using TemporaryFolder folder = new();
        string target = folder.File("target"), link = folder.File("link");
        File.WriteAllText(target, "old");
        File.CreateSymbolicLink(link, target);
        AtomicFile.Write(link, stream => stream.Write("new"u8));
        Assert.Equal("new", File.ReadAllText(target));
        Assert.NotNull(new FileInfo(link).LinkTarget);
    }

    [Fact]
    public void LeftoversOfKilledWritersAreRemovedAndNothingElse()
    {
        using TemporaryFolder folder = new();
        string path = folder.File("last.safetensors"), other = folder.File("best.safetensors");
        File.WriteAllText(path, "kept");
        File.WriteAllText(other, "kept");
        File.WriteAllText(folder.File(".last.safetensors.4711-1.tmp"), "half");
        AtomicFile.RemoveLeftovers(path);
        Assert.Equal([other, path], Directory.GetFileSystemEntries(folder.Path).Order());
    }
}
