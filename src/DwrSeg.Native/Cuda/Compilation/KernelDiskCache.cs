using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Cuda.Compilation;

/// <summary>
/// Compiled kernels in a folder, one file each, shared by all processes of a user. It never fails a caller: what can't be read is compiled
/// anew, and a folder that can't be written only ends the caching.
/// </summary>
internal sealed class KernelDiskCache
{
    /// <summary>Names the folder to use.</summary>
    public const string FolderVariable = "DWRSEG_KERNEL_CACHE";

    public const long DefaultMaxBytes = 256L << 20;

    private const string Ending = ".dwrk";
    private const long MaxEntryBytes = 64L << 20;
    private static readonly TimeSpan LeftoverAge = TimeSpan.FromHours(1);

    private readonly string _folder;
    private readonly long _maxBytes;
    private readonly Action<string>? _warn;
    private readonly Lock _lock = new();

    /// <param name="folder">The folder; made at the first write.</param>
    /// <param name="maxBytes">What its files may take together; the least recently used are deleted.</param>
    /// <param name="warn">Told once where the folder can't be used.</param>
    public KernelDiskCache(string folder, long maxBytes = DefaultMaxBytes, Action<string>? warn = null) =>
        (_folder, _maxBytes, _warn) = (folder, maxBytes, warn);

    /// <summary>Why kernels are not kept; null while they are.</summary>
    public string? Problem { get; private set; }

    /// <summary>The user's cache: <c>DWRSEG_KERNEL_CACHE</c>, else the system's folder for caches.</summary>
    public static KernelDiskCache ForUser(Action<string>? warn = null) =>
        new(UserFolder(OperatingSystem.IsWindows(), Environment.GetEnvironmentVariable), warn: warn);

    internal static string UserFolder(bool windows, Func<string, string?> variable)
    {
        if (variable(FolderVariable) is { Length: > 0 } chosen) return chosen;
        string? caches = windows ? variable("LOCALAPPDATA") : variable("XDG_CACHE_HOME");
        // The XDG specification has relative paths ignored.
        if (string.IsNullOrEmpty(caches) || (!windows && !Path.IsPathRooted(caches)))
        {
            caches = !windows && variable("HOME") is { Length: > 0 } home ? Path.Combine(home, ".cache") : Path.GetTempPath();
        }
        return Path.Combine(caches, "dwrseg", "kernels");
    }

    /// <summary>The kernel, if it is there whole. A file that is not is deleted.</summary>
    public CompiledKernel? TryRead(KernelKey key)
    {
        if (Problem is not null) return null;
        string path = PathOf(key);
        try
        {
            if (!File.Exists(path)) return null;
            byte[]? file = ReadShared(path);
            if (file is not null && KernelEntry.Read(key, file) is { } kernel)
            {
                Touch(path);
                return kernel;
            }
            File.Delete(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            // Another process deleted it in between.
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Disable(e.Message);
        }
        return null;
    }

    /// <summary>Keeps a kernel, and deletes old ones where there is too much.</summary>
    public void Write(KernelKey key, CompiledKernel kernel)
    {
        if (Problem is not null) return;
        byte[] entry = KernelEntry.Write(key, kernel);
        if (entry.Length > Math.Min(_maxBytes, MaxEntryBytes)) return;
        try
        {
            MakeFolder();
            AtomicFile.Write(PathOf(key), stream => stream.Write(entry));
            Evict();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Disable(e.Message);
        }
    }

    private string PathOf(KernelKey key) => Path.Combine(_folder, key + Ending);

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
        if (Directory.Exists(_folder)) return;
        // Machine code that this process will run: for no one else to write.
        if (OperatingSystem.IsWindows()) Directory.CreateDirectory(_folder);
        else Directory.CreateDirectory(_folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    private void Evict()
    {
        lock (_lock)
        {
            var folder = new DirectoryInfo(_folder);
            foreach (FileInfo leftover in folder.EnumerateFiles("*.tmp"))
            {
                // A process killed while it wrote; a younger one may still be written.
                if (DateTime.UtcNow - leftover.LastWriteTimeUtc > LeftoverAge) TryDelete(leftover);
            }
            var entries = new List<(FileInfo File, DateTime Used, long Bytes)>();
            foreach (FileInfo file in folder.EnumerateFiles("*" + Ending))
            {
                if (file.Exists) entries.Add((file, file.LastAccessTimeUtc, file.Length));
            }
            long total = entries.Sum(e => e.Bytes);
            foreach ((FileInfo file, _, long bytes) in entries.OrderBy(e => e.Used))
            {
                if (total <= _maxBytes) break;
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
            Problem = $"compiled kernels are not kept: {why}. {FolderVariable} names another folder.";
        }
        _warn?.Invoke(Problem);
    }
}
