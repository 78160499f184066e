namespace DwrSeg.Native.Formats;

/// <summary>
/// Replaces files whole: a reader, or a process killed at any moment, finds the old content or the new, never a part.
/// </summary>
internal static class AtomicFile
{
    private static int _counter;

    /// <summary>Fails as <see cref="Write"/> would, and writes nothing: for what is found out before hours of work rather than after.</summary>
    /// <exception cref="IOException">The file can't be written.</exception>
    public static void RequireWritable(string path)
    {
        try
        {
            Write(path, _ => throw new Probed());
        }
        catch (Probed)
        {
            // So far it went: the temporary file was there, and is gone again.
        }
    }

    /// <summary>
    /// Writes to a temporary file beside <paramref name="path"/>, flushes it to the disk and renames it. When anything fails the
    /// temporary file is removed and an older file of that name stays as it was.
    /// </summary>
    /// <exception cref="IOException">The folder is missing or not writable, the disk is full, or the path is a folder.</exception>
    public static void Write(string path, Action<Stream> write)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        string target = Path.GetFullPath(path);
        // A link's target is replaced, not the link.
        if (new FileInfo(target) is { LinkTarget: not null } link) target = link.ResolveLinkTarget(true)?.FullName ?? target;
        if (Directory.Exists(target)) throw new IOException($"cannot write {path}: it is a folder");
        string folder = Path.GetDirectoryName(target)!;
        if (!Directory.Exists(folder)) throw new IOException($"cannot write {path}: folder {folder} does not exist; create it first");
        string unique = $"{Environment.ProcessId}-{Interlocked.Increment(ref _counter)}";
        string temporary = Path.Combine(folder, $"{TemporaryPrefix(target)}{unique}.tmp");
        bool created = false;
        try
        {
            using (FileStream stream = new(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 16))
            {
                created = true;
                write(stream);
                stream.Flush(flushToDisk: true);
            }
            File.Move(temporary, target, overwrite: true);
            created = false;
        }
        catch (UnauthorizedAccessException e)
        {
            throw new IOException($"cannot write {path}: no permission in folder {folder}; choose another or change its owner", e);
        }
        catch (IOException e)
        {
            throw new IOException($"cannot write {path}: {e.Message.TrimEnd('.')}; {(IsFull(e) ? "free some space or choose" : "choose")} another folder", e);
        }
        catch (ArgumentOutOfRangeException e) when (IsTooLarge(e))
        {
            throw new IOException($"cannot write {path}: the file is larger than its file system or a limit allows; choose another folder", e);
        }
        finally
        {
            if (created) TryDelete(temporary);
        }
    }

    /// <summary>Removes what processes killed while writing <paramref name="path"/> left beside it; call it when no one writes.</summary>
    public static void RemoveLeftovers(string path)
    {
        string target = Path.GetFullPath(path);
        string folder = Path.GetDirectoryName(target)!;
        if (!Directory.Exists(folder)) return;
        foreach (string file in Directory.EnumerateFiles(folder, TemporaryPrefix(target) + "*.tmp")) TryDelete(file);
    }

    // What the runtime makes of EFBIG in any write, with the name of another method's parameter.
    internal static bool IsTooLarge(ArgumentOutOfRangeException e) =>
        e.ParamName == "value" && e.ActualValue is null && e.Source == typeof(FileStream).Assembly.GetName().Name;

    /// <summary>Whether a disk or a quota is full: ENOSPC and EDQUOT, or their counterparts on Windows.</summary>
    internal static bool IsFull(IOException e)
    {
        const int NoSpace = 28, Quota = 122, QuotaOnMac = 69, DiskFull = unchecked((int)0x80070070), HandleDiskFull = unchecked((int)0x80070027);
        return OperatingSystem.IsWindows() ? e.HResult is DiskFull or HandleDiskFull
            : e.HResult == NoSpace || e.HResult == (OperatingSystem.IsLinux() ? Quota : QuotaOnMac);
    }

    private sealed class Probed : Exception;

    private static string TemporaryPrefix(string target) => $".{Path.GetFileName(target)}.";

    private static void TryDelete(string file)
    {
        try
        {
            File.Delete(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The first failure is the one to report.
        }
    }
}
