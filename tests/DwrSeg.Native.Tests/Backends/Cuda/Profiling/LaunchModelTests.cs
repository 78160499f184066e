using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Backends.Cuda.Profiling;
using DwrSeg.Native.Cuda;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cuda.Profiling;

/// <summary>The table of cards and the model of a launch's time, against numbers computed by hand.</summary>
public sealed class LaunchModelTests
{
    // 10 multiprocessors at 1 GHz; 100 GB/s of memory, 160 GB/s of L2, 1 and 4 Tflop/s.
    private static readonly GpuLimits Card = new("card", "a card", new(8, 0), 10, 1000, 100, 160, 1, 8, 4);

    private static readonly LaunchCounts Nothing = new(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

    // From cycles, as nothing else in the table tells the launch: 2500 at 1 GHz.
    private const double Launch = 2.5e-6;

    [Fact]
    public void BytesAtTheMemorysBandwidthAreTheFloorOfACopy()
    {
        LaunchTime time = LaunchModel.Of(Card, bytes: 1_000_000, flops: 0, usesTensorCores: false, blocks: 100, threads: 256, residentBlocks: 8, Nothing);
        AssertClose(10e-6, time.Memory);
        Assert.Equal(0, time.Arithmetic);
        AssertClose(10e-6, time.Floor);
        AssertClose(12.5e-6, time.Expected);
    }

    [Theory]
    [InlineData(10, 10e-6)]     // one block each
    [InlineData(100, 10e-6)]
    [InlineData(11, 18.18e-6)]  // one multiprocessor has two of eleven blocks
    [InlineData(1, 100e-6)]     // nine stand idle
    public void TheBusiestMultiprocessorDecides(long blocks, double seconds)
    {
        LaunchTime time = LaunchModel.Of(Card, 1000, 10_000_000, usesTensorCores: false, blocks, 256, 8, null);
        AssertClose(seconds, time.Arithmetic);
        AssertClose(seconds, time.Floor);
        Assert.Null(time.L2);
        Assert.Null(time.Expected);
    }

    [Fact]
    public void TensorCoresHaveTheRateThatMmaReaches() =>
        AssertClose(2.5e-6, LaunchModel.Of(Card, 1000, 10_000_000, usesTensorCores: true, 10, 256, 8, null).Floor);

    [Fact]
    public void FewWarpsReachAPartOfThePeak()
    {
        // Two of eight blocks are there for each multiprocessor, of four warps each: 0.35 + 8 · 0.055 of the peak.
        LaunchCounts counts = Nothing with { OtherFlops = 20_000_000 };
        LaunchTime time = LaunchModel.Of(Card, 1000, 10_000_000, false, blocks: 20, threads: 128, residentBlocks: 8, counts);
        AssertClose(20e-6 / 0.79, time.Execution);
        AssertClose(20e-6 / 0.79 + Launch, time.Expected);
        // The floor knows neither.
        AssertClose(10e-6, time.Floor);
        // No more than one is resident: 0.35 + 4 · 0.055.
        AssertClose(20e-6 / 0.57, LaunchModel.Of(Card, 1000, 10_000_000, false, 20, 128, residentBlocks: 1, counts).Execution);
        // Twelve warps and more hide all.
        AssertClose(20e-6, LaunchModel.Of(Card, 1000, 10_000_000, false, 20, 256, 8, counts).Execution);
    }

    [Fact]
    public void InstructionsTakeTheirTurnsAtTheSchedulers()
    {
        // 4 a cycle on each of 10 multiprocessors: 400,000 are 10,000 cycles.
        LaunchTime time = LaunchModel.Of(Card, 1000, 1000, false, blocks: 10, threads: 512, residentBlocks: 4, Nothing with { WarpInstructions = 400_000 });
        AssertClose(10e-6, time.Execution);
    }

    [Fact]
    public void L2ServesEveryBlockAndEachMultiprocessorHasOnePort()
    {
        // 100,000 sectors are 3.2 MB: 20 µs at 160 GB/s from all.
        LaunchCounts counts = Nothing with { BlockLoadSectors = 70_000, BlockStoreSectors = 30_000 };
        AssertClose(20e-6, LaunchModel.Of(Card, 1000, 0, false, blocks: 100, threads: 512, residentBlocks: 4, counts).L2);
        // A single block takes 48 bytes a cycle.
        AssertClose(3_200_000 / 48e9, LaunchModel.Of(Card, 1000, 0, false, blocks: 1, threads: 512, residentBlocks: 4, counts).L2);
    }

    [Theory]
    [InlineData(4_000_000, 1000, 0, 0, "memory")]
    [InlineData(1000, 30_000_000, 0, 0, "arithmetic")]
    [InlineData(1000, 1000, 200_000, 1000, "L2")]
    [InlineData(1000, 1000, 1000, 2_000_000, "execution")]
    public void TheLargestTermIsNamed(long bytes, long flops, long sectors, long instructions, string bound)
    {
        LaunchCounts counts = Nothing with { BlockLoadSectors = sectors, WarpInstructions = instructions };
        LaunchTime time = LaunchModel.Of(Card, bytes, flops, false, blocks: 100, threads: 256, residentBlocks: 8, counts);
        Assert.Equal(bound, time.Bound);
        AssertClose(Math.Max(Math.Max(time.Memory, time.Arithmetic), Math.Max(time.L2!.Value, time.Execution!.Value)) + Launch, time.Expected);
    }

    [Fact]
    public void SharesOfCountsAreOfWhatTheyName()
    {
        var counts = new LaunchCounts(100, 60, 200, 100, StoredBytes: 1440, RequestStoreSectors: 50, 10, SharedPasses: 40, SharedConflicts: 2, 0, 0, 0);
        Assert.Equal((160, 300), (counts.Sectors, counts.BlockSectors));
        Assert.Equal(0.9, counts.StoresFilled, 12);
        Assert.Equal(0.05, counts.ConflictShare, 12);
        Assert.Equal(1.25, counts.SectorsPerCompulsory(4096), 12);
        Assert.Equal((1, 0), (Nothing.StoresFilled, Nothing.ConflictShare));
    }

    // The emulated devices carry their cards' clocks and bus: what follows from these must be what the data sheets say. Boost clocks of H100
    // differ between sheets.
    [Theory]
    [InlineData(61, "gtx1080ti")]
    [InlineData(75, "rtx2080ti")]
    [InlineData(80, "a100")]
    [InlineData(86, "rtx3090")]
    [InlineData(89, "rtx4090")]
    [InlineData(90, "h100")]
    public void TheTableAgreesWithTheCardsClocksAndBus(int architecture, string name)
    {
        using var driver = new EmulatedDriver(architecture);
        GpuLimits found = GpuLimits.Of(new CudaDevice(driver, 0)), row = GpuLimits.Of(name);
        Assert.Equal($"emulated sm_{architecture}", found.Title);
        Assert.Equal((row.Architecture, row.Multiprocessors), (found.Architecture, found.Multiprocessors));
        Assert.InRange(found.MemoryGBs / row.MemoryGBs, 0.99, 1.01);
        Assert.InRange(found.Fp32Tflops / row.Fp32Tflops, 0.99, 1.01);
        if (row.MmaTflops == 0) Assert.Equal(0, found.MmaTflops);
        else Assert.InRange(found.MmaTflops * row.ClockMhz / found.ClockMhz / row.MmaTflops, 0.99, 1.01);
    }

    [Fact]
    public void WarpgroupsAreFasterThanWarpsAndSlowerThanTheTensorCores()
    {
        GpuLimits h100 = GpuLimits.Of("h100");
        Assert.InRange(h100.FlopRate(tensorCores: true, warpgroups: true), 1.3 * h100.FlopRate(tensorCores: true), h100.TensorTflops * 1e12);
        LaunchTime warps = LaunchModel.Of(h100, 0, 1_000_000_000, true, 132, 256, 1, null);
        LaunchTime warpgroups = LaunchModel.Of(h100, 0, 1_000_000_000, true, 132, 256, 1, null, usesWarpgroups: true);
        Assert.Equal(1270.0 / ConvTile.WarpgroupRate, warpgroups.Arithmetic / warps.Arithmetic, 2);
    }

    [Theory]
    [InlineData("NVIDIA H100 80GB HBM3", 132, 3352.3, "h100")]
    [InlineData("NVIDIA H100 PCIe", 114, 2039, null)]
    [InlineData("NVIDIA H200", 132, 4916.7, "h200")]
    [InlineData("NVIDIA GH200 480GB", 132, 4022.8, null)]
    [InlineData("NVIDIA L40S", 142, 864, "l40s")]
    [InlineData("NVIDIA L40", 142, 864, null)]
    [InlineData("NVIDIA L4", 58, 300.1, "l4")]
    [InlineData("NVIDIA A10", 72, 600.1, "a10")]
    [InlineData("NVIDIA A10G", 80, 600.1, null)]
    [InlineData("NVIDIA GeForce RTX 3080", 68, 760.3, "rtx3080")]
    [InlineData("NVIDIA GeForce RTX 3080", 70, 912.4, null)]
    [InlineData("NVIDIA GeForce RTX 2080 Ti", 68, 616, "rtx2080ti")]
    [InlineData("NVIDIA A100-SXM4-40GB", 108, 1555, "a100")]
    [InlineData("NVIDIA A100-SXM4-80GB", 108, 2039, null)]
    [InlineData("NVIDIA GeForce RTX 4090", 128, 0, "rtx4090")]
    [InlineData("NVIDIA GeForce RTX 3090", 82, 936, "rtx3090")]
    [InlineData("NVIDIA GeForce RTX 3090 Ti", 84, 1008, null)]
    [InlineData("Tesla T4", 40, 320, "t4")]
    [InlineData("NVIDIA GeForce GTX 1080 Ti", 28, 484, "gtx1080ti")]
    [InlineData("NVIDIA GeForce GTX 1080", 20, 320, null)]
    public void ACardIsKnownByItsNameAndNumbers(string name, int multiprocessors, double memoryGBs, string? card) =>
        Assert.Equal(card, GpuLimits.Find(name, multiprocessors, memoryGBs)?.Name);

    [Fact]
    public void RowsArePossible()
    {
        Assert.Equal(GpuLimits.All.Count, GpuLimits.All.Select(g => g.Name).Distinct().Count());
        Assert.All(GpuLimits.All, gpu =>
        {
            Assert.Contains(gpu.Architecture, KernelVariant.Architectures);
            Assert.InRange(gpu.MmaTflops, 0, gpu.TensorTflops);
            Assert.Equal(gpu.Architecture < new ComputeCapability(7, 0), gpu.TensorTflops == 0);
            Assert.True(gpu.L2Rate > gpu.MemoryRate);
            // What follows from multiprocessors and clock; an H100's is counted at a lower one than its sheet's.
            double clocks = gpu.Architecture == new ComputeCapability(9, 0) ? 1980 : gpu.ClockMhz;
            Assert.InRange(2 * ConvFfmaCuda.Rate(gpu.Architecture) * gpu.Multiprocessors * clocks / 1e6 / gpu.Fp32Tflops, 0.99, 1.01);
        });
        ArgumentException unknown = Assert.Throws<ArgumentException>(() => GpuLimits.Of("h300"));
        Assert.Contains("'h300'", unknown.Message, StringComparison.Ordinal);
        Assert.Contains("gtx1080ti", unknown.Message, StringComparison.Ordinal);
    }

    private static void AssertClose(double expected, double? found) => Assert.InRange(found!.Value / expected, 0.999, 1.001);
}
