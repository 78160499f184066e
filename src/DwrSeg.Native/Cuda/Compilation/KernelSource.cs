using System.Text;

namespace DwrSeg.Native.Cuda.Compilation;

/// <summary>A kernel to compile: a file of <c>kernels/</c>, an instance in it, and how it is specialised.</summary>
/// <param name="File">The file's name without folder and ending, such as <c>depthwise_conv</c>.</param>
/// <param name="Name">The kernel as a C++ expression, such as <c>depthwise_conv&lt;half, 8&gt;</c>.</param>
internal sealed record KernelSource(string File, string Name)
{
    /// <summary>
    /// Set to 1, kernels carry their source lines, which compute-sanitizer, Nsight Compute and the emulator name then. The code stays the same,
    /// but a cubin grows.
    /// </summary>
    public const string LineInfoVariable = "DWRSEG_LINEINFO";

    private static readonly bool HasLineInfo = Environment.GetEnvironmentVariable(LineInfoVariable) is { Length: > 0 } and not "0";

    /// <summary>Macros (<c>-D name=value</c>), in an order that stays the same: it is a part of the cache's key.</summary>
    public IReadOnlyList<(string Name, string Value)> Defines { get; init; } = [];

    /// <summary>More compiler options, such as <c>--maxrregcount=64</c>.</summary>
    public IReadOnlyList<string> Options { get; init; } = [];

    /// <summary>It uses instructions of one architecture alone (<c>sm_90a</c>): compiled for that, it runs nowhere else.</summary>
    public bool IsSpecific { get; init; }

    /// <summary>What stands beside the architecture on NVRTC's command line.</summary>
    public string[] CommandLine =>
        ["--std=c++17", .. HasLineInfo ? (string[])["--generate-line-info"] : [], .. Defines.Select(d => $"-D{d.Name}={d.Value}"), .. Options];

    public bool Equals(KernelSource? other) =>
        other is not null && File == other.File && Name == other.Name && IsSpecific == other.IsSpecific && Defines.SequenceEqual(other.Defines) && Options.SequenceEqual(other.Options);

    public override int GetHashCode() => HashCode.Combine(File, Name, Defines.Count, Options.Count);

    public override string ToString()
    {
        var text = new StringBuilder($"{File}.cu: {Name}");
        foreach ((string name, string value) in Defines) text.Append($" {name}={value}");
        foreach (string option in Options) text.Append($" {option}");
        return text.ToString();
    }
}
