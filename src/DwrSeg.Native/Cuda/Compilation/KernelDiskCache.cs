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

    private readonly DiskCache _files;

    /// <param name="folder">The folder; made at the first write.</param>
    /// <param name="maxBytes">What its files may take together; the least recently used are deleted.</param>
    /// <param name="warn">Told once where the folder can't be used: of what, the same for all caches of the folder, and in which words.</param>
    public KernelDiskCache(string folder, long maxBytes = DefaultMaxBytes, Action<string, string>? warn = null) =>
        _files = new DiskCache(folder, ".dwrk", maxBytes, "compiled kernels are not kept", warn);

    /// <summary>Why kernels are not kept; null while they are.</summary>
    public string? Problem => _files.Problem;

    /// <summary>The user's cache: <c>DWRSEG_KERNEL_CACHE</c>, else the system's folder for caches; null where the user has neither.</summary>
    public static KernelDiskCache? ForUser(Action<string, string>? warn = null) =>
        UserFolder() is { } folder ? new KernelDiskCache(folder, warn: warn) : null;

    /// <summary>The folder of the user's cache; null for a user without a home, for what lies in a shared folder may be anyone's machine code.</summary>
    public static string? UserFolder() => UserFolder(
        OperatingSystem.IsWindows(), Environment.GetEnvironmentVariable, Environment.GetFolderPath(Environment.SpecialFolder.UserProfile));

    internal static string? UserFolder(bool windows, Func<string, string?> variable, string profile)
    {
        if (variable(FolderVariable) is { Length: > 0 } chosen) return chosen;
        string? caches = windows ? variable("LOCALAPPDATA") : variable("XDG_CACHE_HOME");
        // The XDG specification has relative paths ignored.
        if (string.IsNullOrEmpty(caches) || (!windows && !Path.IsPathRooted(caches)))
        {
            string home = !windows && variable("HOME") is { Length: > 0 } named ? named : profile;
            if (!Path.IsPathRooted(home)) return null;
            caches = windows ? Path.Combine(home, "AppData", "Local") : Path.Combine(home, ".cache");
        }
        return Path.Combine(caches, "dwrseg", "kernels");
    }

    /// <summary>The kernel, if it is there whole. A file that is not is deleted.</summary>
    public CompiledKernel? TryRead(KernelKey key) => _files.TryRead(key.ToString(), file => KernelEntry.Read(key, file));

    /// <summary>Keeps a kernel, and deletes old ones where there is too much.</summary>
    public void Write(KernelKey key, CompiledKernel kernel) => _files.Write(key.ToString(), KernelEntry.Write(key, kernel));
}
