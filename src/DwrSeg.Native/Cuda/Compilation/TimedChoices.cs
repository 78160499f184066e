using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;

namespace DwrSeg.Native.Cuda.Compilation;

/// <summary>
/// What was found to be the fastest way to do something on a device, by a key that names all it depends on; kept in memory and, where there is a
/// folder, beside the compiled kernels for later processes.
/// </summary>
/// <param name="folder">The folder; null for none.</param>
/// <param name="maxBytes">What its files may take together; the least recently used are deleted.</param>
/// <param name="warn">Told once where the folder can't be used: of what, the same for all caches of the folder, and in which words.</param>
internal sealed class TimedChoices(string? folder, long maxBytes = TimedChoices.DefaultMaxBytes, Action<string, string>? warn = null)
{
    /// <summary>Some ten thousand choices.</summary>
    public const long DefaultMaxBytes = 2L << 20;

    private const int FormatVersion = 1;

    private readonly ConcurrentDictionary<string, string> _known = new();
    private readonly DiskCache? _files = folder is null ? null : new DiskCache(folder, ".dwrt", maxBytes, "timed choices are not kept", warn);

    private int _made;
    private int _fromDisk;

    /// <summary>How often each candidate runs in one measurement.</summary>
    public int Repetitions { get; init; } = 10;

    /// <summary>Measurements of each candidate, of which the median counts.</summary>
    public int Rounds { get; init; } = 5;

    /// <summary>How many choices were made here.</summary>
    public int Made => _made;

    /// <summary>How many choices came from the disk.</summary>
    public int FromDisk => _fromDisk;

    private static ReadOnlySpan<byte> Magic => "DWRT"u8;

    /// <summary>The user's, in the folder of <see cref="KernelDiskCache"/>.</summary>
    public static TimedChoices ForUser(Action<string, string>? warn = null) => new(KernelDiskCache.UserFolder(), warn: warn);

    /// <summary>The choice; null where there is none.</summary>
    public string? Find(string key)
    {
        if (_known.TryGetValue(key, out string? choice)) return choice;
        byte[] hash = HashOf(key);
        choice = _files?.TryRead(
            Convert.ToHexStringLower(hash),
            file => SealedEntry.Open(Magic, FormatVersion, hash, file) is { } content ? Encoding.UTF8.GetString(content) : null);
        if (choice is not null && _known.TryAdd(key, choice)) Interlocked.Increment(ref _fromDisk);
        return choice;
    }

    /// <summary>Keeps a choice, in place of an older one of the key.</summary>
    public void Remember(string key, string choice)
    {
        _known[key] = choice;
        Interlocked.Increment(ref _made);
        if (_files is null) return;
        byte[] hash = HashOf(key);
        _files.Write(Convert.ToHexStringLower(hash), SealedEntry.Seal(Magic, FormatVersion, hash, Encoding.UTF8.GetBytes(choice)));
    }

    private static byte[] HashOf(string key) => SHA256.HashData(Encoding.UTF8.GetBytes(key));
}
