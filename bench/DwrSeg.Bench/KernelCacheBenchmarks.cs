using BenchmarkDotNet.Attributes;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;

namespace DwrSeg.Bench;

/// <summary>What a kernel costs before its first launch: compiled by NVRTC and kept, or read back from the disk. Needs NVRTC, no GPU.</summary>
[NeedsNvrtc]
public class KernelCacheBenchmarks
{
    private readonly string _folder = Directory.CreateTempSubdirectory("dwrseg-bench-").FullName;
    private KernelSource? _source;
    private KernelCompiler? _warm;
    private int _run;

    /// <summary>The first variant of each file that <see cref="KernelCatalog"/> lists and that is not for one architecture alone.</summary>
    public static IEnumerable<string> Kernels => KernelCatalog.All.Select(v => v.Name).Distinct();

    [ParamsSource(nameof(Kernels))]
    public string Kernel { get; set; } = "";

    [GlobalSetup]
    public void Setup()
    {
        _source = KernelCatalog.All.First(v => v.Name == Kernel && !v.IsSpecific).Source;
        _warm = Compiler(new KernelDiskCache(Path.Combine(_folder, "warm")));
        _warm.Compile(_source);
    }

    /// <summary>Nothing is kept: parse, compile to a cubin, write the entry.</summary>
    [Benchmark]
    public int Cold() => Compiler(new KernelDiskCache(Path.Combine(_folder, $"cold{_run++}"))).Compile(_source!).Image.Length;

    /// <summary>The entry is there: hash the sources, read and check it.</summary>
    [Benchmark]
    public int Warm() => _warm!.Compile(_source!).Image.Length;

    [GlobalCleanup]
    public void Cleanup() => Directory.Delete(_folder, recursive: true);

    private static KernelCompiler Compiler(KernelDiskCache disk) =>
        new(Nvrtc.Instance, Nvrtc.Instance.TargetFor(new ComputeCapability(8, 6), wantsPtx: false), KernelFiles.Embedded, disk);
}
