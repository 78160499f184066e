using System.Text.RegularExpressions;

namespace DwrSeg.Native.Cuda.Compilation;

/// <summary>How many bytes of arguments a kernel takes, read from its PTX: drivers before 12.4 don't tell.</summary>
internal static partial class PtxParameters
{
    /// <summary>Bytes from the first parameter's start to the last one's end; 0 for a kernel without parameters.</summary>
    /// <exception cref="ArgumentException">The PTX has no such entry.</exception>
    public static int Bytes(string ptx, string kernel)
    {
        Match entry = Regex.Match(ptx, $@"\.entry\s+{Regex.Escape(kernel)}(?![\w$])\s*(\((?<list>[^)]*)\))?", RegexOptions.CultureInvariant);
        if (!entry.Success) throw new ArgumentException($"the PTX has no entry {kernel}");
        int end = 0;
        foreach (Match parameter in Parameter().Matches(entry.Groups["list"].Value))
        {
            int element = int.Parse(parameter.Groups["bits"].Value) / 8;
            int alignment = parameter.Groups["align"] is { Success: true } align ? int.Parse(align.Value) : element;
            int count = parameter.Groups["count"] is { Success: true } number ? int.Parse(number.Value) : 1;
            end = ((end + alignment - 1) / alignment * alignment) + (element * count);
        }
        return end;
    }

    [GeneratedRegex(
        @"\.param\s+(\.align\s+(?<align>\d+)\s+)?\.[a-z](?<bits>\d+)\s+(\.ptr\s+(\.\w+\s+)?(\.align\s+\d+\s+)?)?[\w$]+(\[(?<count>\d+)\])?",
        RegexOptions.CultureInvariant)]
    private static partial Regex Parameter();
}
