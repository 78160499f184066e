using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Cuda.Compilation;

/// <summary>
/// Small files in a folder, one an entry, shared by all processes of a user. It never fails a caller: what can't be read is as if it were not
/// there, and a folder that can't be written only ends the caching.
/// </summary>
/// <param name="folder">The folder; made at the first write.</param>
/// <param name="ending">What the entries' names end in; files of other endings are left alone.</param>
/// <param name="maxBytes">What the entries may take together; the least recently used are deleted.</param>
/// <param name="problem">What is not done any more where the folder can't be used, for the message.</param>
/// <param name="warn">Told once where the folder can't be used: of what, the same for all caches of the folder, and in which words.</param>
internal sealed class DiskCache(string folder, string ending, long maxBytes, string problem, Action<string, string>? warn = null)
{
    private const long MaxEntryBytes = 64L << 20;
    private static readonly TimeSpan LeftoverAge = TimeSpan.FromHours(1);

    private readonly Lock _lock = new();

    /// <summary>Why nothing is kept; null while it is.</summary>
    public string? Problem { get; private set; }

    /// <summary>The entry, if it is there whole. A file that is not is deleted.</summary>
    /// <param name="name">The entry's name, good as a file's.</param>
    /// <param name="parse">Reads a file; null for one that is no entry of this name.</param>
    public T? TryRead<T>(string name, Func<byte[], T?> parse)
        where T : class
    {
        if (Problem is not null) return null;
        string path = PathOf(name);
        try
        {
            if (!File.Exists(path)) return null;
            byte[]? file = ReadShared(path);
            if (file is not null && parse(file) is { } entry)
            {
                Touch(path);
                return entry;
            }
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Another process deleted it in between; or this one can't be read or deleted, which says nothing of the others.
        }
        return null;
    }

    /// <summary>Keeps an entry, and deletes old ones where there is too much.</summary>
    public void Write(string name, byte[] entry)
    {
        if (Problem is not null || entry.Length > Math.Min(maxBytes, MaxEntryBytes)) return;
        try
        {
            MakeFolder();
            AtomicFile.Write(PathOf(name), stream => stream.Write(entry));
            Evict();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // What stands in this entry's way says nothing of the others.
            if (!Path.Exists(PathOf(name))) Disable(e.Message);
        }
    }

    private string PathOf(string name) => Path.Combine(folder, name + ending);

    private static byte[]? ReadShared(string path)
    {
        // Another process may replace or delete it meanwhile; this one goes on reading what it opened.
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        if (stream.Length > MaxEntryBytes) return null;
        var file = new byte[stream.Length];
        return stream.ReadAtLeast(file, file.Length, throwOnEndOfStream: false) == file.Length ? file : null;
    }

    // File systems seldom note reads themselves.
    private static void Touch(string path)
    {
        try
        {
            File.SetLastAccessTimeUtc(path, DateTime.UtcNow);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A shared, read-only cache is fine: it only ages.
        }
    }

    private void MakeFolder()
    {
        if (Directory.Exists(folder)) return;
        // Machine code that this process will run: for no one else to write.
        if (OperatingSystem.IsWindows()) Directory.CreateDirectory(folder);
        else Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    private void Evict()
    {
        lock (_lock)
        {
            var all = new DirectoryInfo(folder);
            foreach (FileInfo leftover in all.EnumerateFiles("*.tmp"))
            {
                // A process killed while it wrote; a younger one may still be written.
                if (DateTime.UtcNow - leftover.LastWriteTimeUtc > LeftoverAge) TryDelete(leftover);
            }
            var entries = new List<(FileInfo File, DateTime Used, long Bytes)>();
            foreach (FileInfo file in all.EnumerateFiles("*" + ending))
            {
                if (file.Exists) entries.Add((file, file.LastAccessTimeUtc, file.Length));
            }
            long total = entries.Sum(e => e.Bytes);
            foreach ((FileInfo file, _, long bytes) in entries.OrderBy(e => e.Used))
            {
                if (total <= maxBytes) break;
                TryDelete(file);
                total -= bytes;
            }
        }
    }

    private static void TryDelete(FileInfo file)
    {
        try
        {
            file.Delete();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // In use, or gone already.
        }
    }

    private void Disable(string why)
    {
        lock (_lock)
        {
            if (Problem is not null) return;
            Problem = $"{problem}: {why}. {KernelDiskCache.FolderVariable} names another folder.";
        }
        // The words name a file, and another cache of the folder would fail at another one.
        warn?.Invoke($"{problem}: {folder}", Problem);
    }
}
