using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda;

public sealed class KernelKeyTests
{
    private static readonly NvrtcTarget Ptx80 = new(new ComputeCapability(8, 0), IsPtx: true);
    private static readonly Version Compiler = new(12, 4);

    [Fact]
    public void EveryPartChangesTheKey()
    {
        KernelSource source = SmallKernels.Scale;
        Dictionary<string, string> inner = SmallKernels.Texts, outer = SmallKernels.Texts;
        inner["inner.cuh"] += " ";
        outer["outer.cuh"] += " ";
        string[] keys =
        [
            Key(source),
            Key(source, text: SmallKernels.Kernel + " "),
            Key(source, files: inner),
            Key(source, files: outer),
            Key(source with { Name = "scale<float, 8>" }),
            Key(source with { File = "scale2" }),
            Key(source with { Defines = [("A", "1")] }),
            Key(source with { Defines = [("A", "2")] }),
            Key(source with { Defines = [("A", "1"), ("B", "1")] }),
            Key(source with { Options = ["-DA=1", "--use_fast_math"] }),
            Key(source, target: Ptx80 with { IsPtx = false }),
            Key(source, target: new NvrtcTarget(new ComputeCapability(8, 6), IsPtx: true)),
            Key(source, target: Ptx80 with { IsSpecific = true }),
            Key(source, compiler: new Version(12, 5)),
        ];
        Assert.Equal(keys.Length, keys.Distinct().Count());
        Assert.All(keys, k => Assert.Equal(64, k.Length));
    }

    [Fact]
    public void SameCompilationHasTheSameKey() => Assert.Equal(Key(SmallKernels.Scale), Key(SmallKernels.Scale));

    [Fact]
    public void HeadersAreFoundThroughOthersAndOnce()
    {
        KernelFiles files = SmallKernels.Files(new()
        {
            ["a.cuh"] = "  # include <b.cuh>\n#include \"c.cuh\"",
            ["b.cuh"] = "#include \"a.cuh\"\n// #include \"d.cuh\"",
            ["c.cuh"] = "int c;",
            ["d.cuh"] = "never",
        });
        Assert.Equal(["a.cuh", "b.cuh", "c.cuh"], files.Headers("#include \"a.cuh\"\n#include \"missing.cuh\"\n").Select(h => h.Name));
    }

    [Fact]
    public void UnknownKernelFileIsNamed() =>
        Assert.Contains("there is no kernel file nothing.cu", Assert.Throws<ArgumentException>(() => KernelFiles.Embedded.Kernel("nothing")).Message, StringComparison.Ordinal);

    private static string Key(
        KernelSource source, string text = SmallKernels.Kernel, Dictionary<string, string>? files = null, NvrtcTarget? target = null, Version? compiler = null) =>
        KernelKey.Of(source, text, SmallKernels.Files(files).Headers(text), target ?? Ptx80, compiler ?? Compiler).ToString();
}
