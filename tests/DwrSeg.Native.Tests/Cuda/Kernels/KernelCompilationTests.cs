using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

/// <summary>
/// Every variant on every architecture that it is offered on: it compiles without a warning, and the assembler needs no local memory for it.
/// With <c>DWRSEG_KERNEL_TABLE</c> set to a file, registers and shared memory are written there as the table of docs/kernels.md.
/// </summary>
public sealed partial class KernelCompilationTests
{
    private const string TableVariable = "DWRSEG_KERNEL_TABLE";

    public static TheoryData<int> Architectures => [.. KernelVariant.Architectures.Select(a => a.Number)];

    [Theory]
    [MemberData(nameof(Architectures))]
    public void EveryVariantCompilesAndSpillsNothing(int architecture)
    {
        string? assembler = FindAssembler();
        Parallel.ForEach(KernelCatalog.For(ComputeCapability.FromNumber(architecture)), variant =>
        {
            CompiledKernel kernel = Compile(variant, architecture);
            Assert.True(kernel.Log.Length == 0, $"{variant} for sm_{architecture}: {kernel.Log}");
            if (assembler is null) return;
            Usage usage = Assemble(assembler, kernel.Image, Suffixed(variant, architecture));
            Assert.True(usage.LocalBytes == 0, $"{variant} for sm_{architecture}: {usage.LocalBytes} bytes of local memory or spills.");
            // Two blocks must fit a multiprocessor's 64 Ki registers, or one of the few kernels that keep a large tile's sums in them.
            int blocks = variant.Name is "sir_mma" ? 1 : 2;
            int registers = usage.Registers * ThreadsOf(kernel);
            Assert.True(registers <= 65536 / blocks, $"{variant} for sm_{architecture}: {registers} registers a block; {blocks} must fit 65536.");
        });
    }

    [Fact]
    public void TheCatalogHoldsEveryKernelFile() =>
        Assert.Equal(KernelFiles.EmbeddedKernels, KernelCatalog.All.Select(v => v.Name).Distinct().Order(StringComparer.Ordinal));

    [Fact]
    public void TableIsWritten()
    {
        string? target = Environment.GetEnvironmentVariable(TableVariable), assembler = FindAssembler();
        Assert.SkipWhen(target is null || assembler is null, $"{TableVariable} names no file, or there is no ptxas");
        var table = new StringBuilder("| kernel |");
        foreach (ComputeCapability a in KernelVariant.Architectures) table.Append($" {a} |");
        table.AppendLine().Append("|---|").AppendJoin("", KernelVariant.Architectures.Select(_ => "---|")).AppendLine();
        foreach (KernelVariant variant in KernelCatalog.All)
        {
            table.Append($"| {variant} |");
            foreach (ComputeCapability a in KernelVariant.Architectures)
            {
                if (!variant.RunsOn(a))
                {
                    table.Append(" - |");
                    continue;
                }
                Usage usage = Assemble(assembler!, Compile(variant, a.Number).Image, Suffixed(variant, a.Number));
                table.Append(usage.SharedBytes == 0 ? $" {usage.Registers} |" : $" {usage.Registers}, {usage.SharedBytes} B |");
            }
            table.AppendLine();
        }
        File.WriteAllText(target!, table.ToString());
    }

    private readonly record struct Usage(int Registers, int SharedBytes, int LocalBytes);

    private static CompiledKernel Compile(KernelVariant variant, int architecture)
    {
        string text = KernelFiles.Embedded.Kernel(variant.Name);
        return Nvrtc.Instance.Compile(
            $"{variant.Name}.cu", text, KernelFiles.Embedded.Headers(text), variant.Source.Name, variant.Source.CommandLine,
            new NvrtcTarget(ComputeCapability.FromNumber(architecture), IsPtx: true) { IsSpecific = variant.IsSpecific });
    }

    private static string Suffixed(KernelVariant variant, int architecture) => $"sm_{architecture}{(variant.IsSpecific ? "a" : "")}";

    private static int ThreadsOf(CompiledKernel kernel) =>
        int.Parse(BlockBound().Match(Encoding.ASCII.GetString(kernel.Image)).Groups[1].Value, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"\.maxntid (\d+)")]
    private static partial Regex BlockBound();

    private static string? FindAssembler()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            string path = Path.Combine(folder.FullName, ".tools", "cuda", "bin", "ptxas");
            if (File.Exists(path)) return path;
        }
        return null;
    }

    private static Usage Assemble(string assembler, byte[] ptx, string architecture)
    {
        string folder = Directory.CreateTempSubdirectory("dwrseg-ptxas-").FullName;
        try
        {
            string source = Path.Combine(folder, "kernel.ptx");
            File.WriteAllBytes(source, ptx[..^1]);
            ProcessStartInfo start = new(assembler, ["-arch", architecture, "-v", source, "-o", Path.Combine(folder, "kernel.cubin")])
            {
                RedirectStandardError = true,
            };
            using Process process = Process.Start(start)!;
            string report = process.StandardError.ReadToEnd();
            process.WaitForExit();
            Assert.True(process.ExitCode == 0, report);
            // It says so where it runs wgmma one after the other.
            Assert.DoesNotContain("Performance Loss", report, StringComparison.Ordinal);
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
