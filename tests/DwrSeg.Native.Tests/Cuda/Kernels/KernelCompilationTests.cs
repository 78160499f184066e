using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using DwrSeg.Cli;
using DwrSeg.Cli.Profiling;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

/// <summary>
/// Every variant on every architecture that it is offered on: it compiles without a warning, and the assembler needs no local memory for it.
/// With <c>DWRSEG_KERNEL_TABLE</c> set to a file, registers and shared memory are written there as the table of docs/kernels.md: of
/// what DWRSeg-B launches and, of other kernels, the greediest variant.
/// </summary>
public sealed partial class KernelCompilationTests
{
    private const string TableVariable = "DWRSEG_KERNEL_TABLE";

    public static TheoryData<int> Architectures => [.. KernelVariant.Architectures.Select(a => a.Number)];

    [Theory]
    [MemberData(nameof(Architectures))]
    public void EveryVariantCompilesAndSpillsNothing(int architecture)
    {
        TestNvrtc.Require();
        Assert.SkipUnless(
            Nvrtc.Instance.Architectures.Contains(ComputeCapability.FromNumber(architecture)), $"NVRTC {Nvrtc.Instance.Version} has no sm_{architecture}");
        string? assembler = TestNvrtc.FindAssembler();
        IEnumerable<KernelVariant> variants = KernelCatalog.For(ComputeCapability.FromNumber(architecture)).Where(v => Warpgroups.CanBeCompiled || !v.IsSpecific);
        Parallel.ForEach(variants, variant =>
        {
            CompiledKernel kernel = Compile(variant, architecture);
            Assert.True(kernel.Log.Length == 0, $"{variant} for sm_{architecture}: {kernel.Log}");
            // A launch that may begin early waits, and lets the next one begin.
            foreach (string half in new[] { "griddepcontrol.wait", "griddepcontrol.launch_dependents" })
            {
                bool isThere = kernel.Image.AsSpan().IndexOf(Encoding.ASCII.GetBytes(half)) >= 0;
                Assert.True(isThere == (variant.AwaitsPrevious && architecture >= 90), $"{variant} for sm_{architecture}: {half}");
            }
            if (assembler is null) return;
            Usage usage = Assemble(assembler, kernel.Image, Suffixed(variant, architecture), out byte[] cubin);
            Assert.True(usage.LocalBytes == 0, $"{variant} for sm_{architecture}: {usage.LocalBytes} bytes of local memory or spills.");
            // Two blocks must fit a multiprocessor's 64 Ki registers, or one of the few kernels that keep a large tile's sums in them.
            int blocks = variant.Name is "sir_mma" || (variant.Name, ThreadsOf(kernel)) is ("conv_winograd", 512) ? 1 : 2;
            int registers = usage.Registers * ThreadsOf(kernel);
            Assert.True(registers <= 65536 / blocks, $"{variant} for sm_{architecture}: {registers} registers a block; {blocks} must fit 65536.");
            // What is read from the machine code is what the assembler reported of it.
            KernelResources read = KernelResources.OfCubin(cubin, kernel.LoweredName, ComputeCapability.FromNumber(architecture));
            Assert.Equal(new KernelResources(usage.Registers, usage.SharedBytes, usage.LocalBytes, ThreadsOf(kernel)), read);
        });
        if (assembler is null) TestNvrtc.Missing("every variant compiles, but there is no ptxas to tell its registers and spills");
    }

    [Fact]
    public void TheCatalogHoldsEveryKernelFile() =>
        Assert.Equal(KernelFiles.EmbeddedKernels, KernelCatalog.All.Select(v => v.Name).Distinct().Order(StringComparer.Ordinal));

    [Fact]
    public void TableIsWritten()
    {
        string? target = Environment.GetEnvironmentVariable(TableVariable);
        Assert.SkipWhen(target is null, $"{TableVariable} names no file");
        var table = new StringBuilder("| kernel |");
        foreach (ComputeCapability a in KernelVariant.Architectures) table.Append($" {a} |");
        table.AppendLine().Append("|---|").AppendJoin("", KernelVariant.Architectures.Select(_ => "---|")).AppendLine();
        Dictionary<ComputeCapability, CubinResources> resources = KernelVariant.Architectures.ToDictionary(a => a, a => new CubinResources(Nvrtc.Instance, a));
        foreach (KernelVariant variant in VariantsOfTheTable(resources[new ComputeCapability(8, 0)]))
        {
            table.Append($"| {variant} |");
            foreach (ComputeCapability a in KernelVariant.Architectures)
            {
                KernelResources? found = variant.RunsOn(a) ? resources[a].Of(variant) : null;
                table.Append(found is null ? " - |" : found.StaticSharedBytes == 0 ? $" {found.Registers} |" : $" {found.Registers}, {found.StaticSharedBytes} B |");
            }
            table.AppendLine();
        }
        File.WriteAllText(target!, table.ToString());
    }

    /// <summary>What DWRSeg-B launches at 512x1024 in fp32 or fp16 on one of the architectures; of other kernels the greediest variant.</summary>
    private static IEnumerable<KernelVariant> VariantsOfTheTable(CubinResources resources)
    {
        var settings = new ProfileSettings(ModelChoice.Open("base"), 512, 1024, Image: null);
        HashSet<KernelVariant> used =
        [
            .. from element in new[] { CudaElement.Float32, CudaElement.Float16 }
               from architecture in KernelVariant.Architectures
               where element.FirstArchitecture() <= architecture
               from listing in KernelList.OfFrame(settings, DeviceModel.Of(architecture.Number), element)
               select listing.Variant,
        ];
        return KernelCatalog.All.GroupBy(v => v.Name).SelectMany(
            kernel => kernel.Any(used.Contains) ? kernel.Where(used.Contains) : [kernel.Where(v => !v.IsSpecific).MaxBy(v => resources.Of(v)!.Registers)!]);
    }

    private readonly record struct Usage(int Registers, int SharedBytes, int LocalBytes);

    private static CompiledKernel Compile(KernelVariant variant, int architecture)
    {
        string text = KernelFiles.Embedded.Kernel(variant.Name);
        return TestNvrtc.Instance.Compile(
            $"{variant.Name}.cu", text, KernelFiles.Embedded.Headers(text), variant.Source.Name, variant.Source.CommandLine,
            new NvrtcTarget(ComputeCapability.FromNumber(architecture), IsPtx: true) { IsSpecific = variant.IsSpecific });
    }

    private static string Suffixed(KernelVariant variant, int architecture) => $"sm_{architecture}{(variant.IsSpecific ? "a" : "")}";

    private static int ThreadsOf(CompiledKernel kernel) =>
        int.Parse(BlockBound().Match(Encoding.ASCII.GetString(kernel.Image)).Groups[1].Value, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"\.maxntid (\d+)")]
    private static partial Regex BlockBound();

    private static Usage Assemble(string assembler, byte[] ptx, string architecture, out byte[] cubin)
    {
        string folder = Directory.CreateTempSubdirectory("dwrseg-ptxas-").FullName;
        try
        {
            string source = Path.Combine(folder, "kernel.ptx"), target = Path.Combine(folder, "kernel.cubin");
            File.WriteAllBytes(source, ptx[..^1]);
            ProcessStartInfo start = new(assembler, ["-arch", architecture, "-v", source, "-o", target])
            {
                RedirectStandardError = true,
            };
            using Process process = Process.Start(start)!;
            string report = process.StandardError.ReadToEnd();
            process.WaitForExit();
            Assert.True(process.ExitCode == 0, report);
            // It says so where it runs wgmma one after the other.
            Assert.DoesNotContain("Performance Loss", report, StringComparison.Ordinal);
            cubin = File.ReadAllBytes(target);
            return new Usage(Number(Registers(), report), Number(Shared(), report), Number(Stack(), report));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        static int Number(Regex pattern, string text) =>
            pattern.Match(text) is { Success: true } match ? int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture) : 0;
    }

    [GeneratedRegex(@"Used (\d+) registers")]
    private static partial Regex Registers();

    [GeneratedRegex(@"(\d+) bytes smem")]
    private static partial Regex Shared();

    // Spilled registers lie in the stack frame, as do arrays that are indexed.
    [GeneratedRegex(@"(\d+) bytes stack frame")]
    private static partial Regex Stack();
}
