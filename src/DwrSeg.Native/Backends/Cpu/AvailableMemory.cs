using System.Globalization;

namespace DwrSeg.Native.Backends.Cpu;

/// <summary>
/// How much memory this process can still take. Systems that promise more memory than they have end a process when it touches the pages,
/// so a plan asks here before it allocates.
/// </summary>
internal static class AvailableMemory
{
    private const string Groups = "/sys/fs/cgroup";

    /// <summary>
    /// Bytes that can be taken now: the least of what the runtime says the machine has, what the system has free or can free, and what
    /// the limits of the process's control groups leave; less a sixteenth, for all that is allocated beside and meanwhile.
    /// </summary>
    public static long Bytes()
    {
        GCMemoryInfo runtime = GC.GetGCMemoryInfo();
        long bytes = OperatingSystem.IsLinux() ? OnLinux(Read) : runtime.TotalAvailableMemoryBytes - runtime.MemoryLoadBytes;
        bytes = Math.Max(Math.Min(bytes, runtime.TotalAvailableMemoryBytes), 0);
        return bytes - bytes / 16;
    }

    /// <summary>What Linux has free or can free, and what each control group from the process's own to the root leaves.</summary>
    /// <param name="read">The text of a file; null where it can't be read. What is missing sets no limit.</param>
    internal static long OnLinux(Func<string, string?> read)
    {
        long bytes = Field(read("/proc/meminfo"), "MemAvailable:") is { } kibibytes ? kibibytes * 1024 : long.MaxValue;
        foreach (string line in (read("/proc/self/cgroup") ?? "").Split('\n'))
        {
            // NUMBER:CONTROLLERS:PATH; version 2 has one line, 0::PATH.
            string[] parts = line.Split(':', 3);
            if (parts.Length < 3) continue;
            if (parts[1].Length == 0) bytes = Math.Min(bytes, LeftBy(read, Groups, parts[2], "memory.max", "memory.current", ""));
            else if (parts[1].Split(',').Contains("memory"))
                bytes = Math.Min(bytes, LeftBy(read, Groups + "/memory", parts[2], "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"));
        }
        return bytes;
    }

    // A container may see its own group as the root while its path is the host's: groups that are not there set no limit.
    private static long LeftBy(Func<string, string?> read, string root, string path, string limit, string usage, string prefix)
    {
        long bytes = long.MaxValue;
        for (string group = path.TrimEnd('/'); ; group = group[..group.LastIndexOf('/')])
        {
            string folder = root + group;
            if (Number(read($"{folder}/{limit}")) is { } most && Number(read($"{folder}/{usage}")) is { } used)
            {
                // The group's file cache counts as used but goes when memory is wanted.
                string? counts = read($"{folder}/memory.stat");
                long files = (Field(counts, prefix + "inactive_file") ?? 0) + (Field(counts, prefix + "active_file") ?? 0);
                bytes = Math.Min(bytes, most - Math.Max(used - files, 0));
            }
            if (group.LastIndexOf('/') < 0) return bytes;
        }
    }

    private static long? Field(string? text, string name)
    {
        foreach (string line in (text ?? "").Split('\n'))
        {
            string[] words = line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
            if (words.Length >= 2 && words[0] == name) return Number(words[1]);
        }
        return null;
    }

    // "max" is none.
    private static long? Number(string? text) =>
        long.TryParse(text, NumberStyles.AllowLeadingWhite | NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture, out long value) ? value : null;

    private static string? Read(string file)
    {
        try
        {
            return File.ReadAllText(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
