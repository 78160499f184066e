using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda.Profiling;

/// <summary>
/// What a card can do at most, from its maker's data sheet where nothing else is said: what measured and expected times are held against.
/// </summary>
/// <param name="Name">What <c>--gpu</c> calls it.</param>
/// <param name="Title">The card, for people.</param>
/// <param name="Architecture">Its architecture.</param>
/// <param name="Multiprocessors">Its multiprocessors.</param>
/// <param name="ClockMhz">The clock at which cycles are counted: its boost clock.</param>
/// <param name="MemoryGBs">Memory bandwidth, in 10⁹ bytes a second.</param>
/// <param name="L2BytesPerCycle">What its L2 delivers in a cycle to all multiprocessors together.</param>
/// <param name="Fp32Tflops">Multiply-adds in fp32, each counting two.</param>
/// <param name="TensorTflops">Dense products of fp16 or bf16 with fp32 sums on tensor cores; 0 where there are none.</param>
/// <param name="MmaTflops">What <c>mma.sync</c> reaches of that.</param>
internal sealed record GpuLimits(
    string Name, string Title, ComputeCapability Architecture, int Multiprocessors, int ClockMhz, double MemoryGBs, double L2BytesPerCycle,
    double Fp32Tflops, double TensorTflops, double MmaTflops)
{
    // What an L2 delivers is published for the A100 alone (5120 bytes a cycle). Elsewhere it is estimated as half of the 64 bytes a cycle that
    // a multiprocessor can take. An H100 SXM boosts to 1980 MHz; cycles are counted at a more cautious 1755. mma.sync on sm_90 is the estimate
    // of ConvMmaCuda, 1270 of 2048 multiply-adds a cycle.
    private const double EstimatedL2Bytes = 32;

    /// <summary>The cards that can be named.</summary>
    public static IReadOnlyList<GpuLimits> All { get; } =
    [
        // NVIDIA H100 data sheet, SXM.
        new("h100", "H100 SXM", new(9, 0), 132, 1755, 3352, 132 * EstimatedL2Bytes, 66.9, 989.4, 588.4),
        // NVIDIA H200 data sheet: an H100's multiprocessors, and 4.8 TB/s of HBM3e.
        new("h200", "H200", new(9, 0), 132, 1755, 4800, 132 * EstimatedL2Bytes, 66.9, 989.4, 588.4),
        // NVIDIA A100 data sheet. The 80 GB have other bandwidths.
        new("a100", "A100 SXM 40 GB", new(8, 0), 108, 1410, 1555, 5120, 19.5, 312, 312),
        // NVIDIA L40S data sheet.
        new("l40s", "L40S", new(8, 9), 142, 2520, 864, 142 * EstimatedL2Bytes, 91.6, 362, 362),
        // NVIDIA L4 data sheet.
        new("l4", "L4", new(8, 9), 58, 2040, 300, 58 * EstimatedL2Bytes, 30.3, 121, 121),
        // NVIDIA Ada GPU architecture, appendix A: on GeForce cards products with fp32 sums have half the rate of those with fp16 sums.
        new("rtx4090", "GeForce RTX 4090", new(8, 9), 128, 2520, 1008, 128 * EstimatedL2Bytes, 82.6, 165.2, 165.2),
        // NVIDIA A10 data sheet.
        new("a10", "A10", new(8, 6), 72, 1695, 600, 72 * EstimatedL2Bytes, 31.2, 125, 125),
        // NVIDIA Ampere GA102 GPU architecture, table 2, both; half the rate with fp32 sums.
        new("rtx3090", "GeForce RTX 3090", new(8, 6), 82, 1695, 936, 82 * EstimatedL2Bytes, 35.6, 71.2, 71.2),
        new("rtx3080", "GeForce RTX 3080 10 GB", new(8, 6), 68, 1710, 760, 68 * EstimatedL2Bytes, 29.8, 59.5, 59.5),
        // NVIDIA Turing GPU architecture, appendices A (the reference card) and B.
        new("rtx2080ti", "GeForce RTX 2080 Ti", new(7, 5), 68, 1545, 616, 68 * EstimatedL2Bytes, 13.4, 53.8, 53.8),
        new("t4", "Tesla T4", new(7, 5), 40, 1590, 320, 40 * EstimatedL2Bytes, 8.1, 65.1, 65.1),
        // NVIDIA's product page.
        new("gtx1080ti", "GeForce GTX 1080 Ti", new(6, 1), 28, 1582, 484, 28 * EstimatedL2Bytes, 11.3, 0, 0),
    ];

    /// <summary>
    /// From one launch of a CUDA graph to the next where each waits for the one before: an estimate, the same that convolutions choose
    /// their tiles by.
    /// </summary>
    public double LaunchSeconds => ConvTile.OverheadCycles / CyclesPerSecond;

    public double CyclesPerSecond => ClockMhz * 1e6;

    /// <summary>Bytes a second.</summary>
    public double MemoryRate => MemoryGBs * 1e9;

    /// <summary>Bytes a second.</summary>
    public double L2Rate => L2BytesPerCycle * CyclesPerSecond;

    /// <summary>Flops a second that kernels can reach with or without tensor cores.</summary>
    /// <param name="tensorCores">With tensor cores.</param>
    /// <param name="warpgroups">By <c>wgmma</c>, whose rate is an assumption (<see cref="ConvTile.WarpgroupRate"/>).</param>
    public double FlopRate(bool tensorCores, bool warpgroups = false) =>
        warpgroups ? 2 * ConvTile.WarpgroupRate * Multiprocessors * CyclesPerSecond : (tensorCores ? MmaTflops : Fp32Tflops) * 1e12;

    /// <summary>A card by its name.</summary>
    /// <exception cref="ArgumentException">The table has none of this name.</exception>
    public static GpuLimits Of(string name) => All.FirstOrDefault(g => g.Name == name) ?? throw new ArgumentException(
        $"There are no limits of a card called '{name}'; there are {string.Join(", ", All.Select(g => g.Name))}.", nameof(name));

    /// <summary>The table's row for a device, or for one that is not in it what follows from the driver's numbers.</summary>
    public static GpuLimits Of(CudaDevice device)
    {
        int multiprocessors = device.MultiprocessorCount, clockMhz = device[CUdeviceAttribute.ClockRateKhz] / 1000;
        // Memory moves data at both edges of its clock.
        double memory = 2e3 * device[CUdeviceAttribute.MemoryClockRateKhz] * device[CUdeviceAttribute.GlobalMemoryBusWidthBits] / 8 / 1e9;
        if (Find(device.Name, multiprocessors, memory) is { } known) return known;
        double mma = device.ComputeCapability >= CudaElement.Float16.FirstArchitecture() ? Tflops(ConvMmaCuda.Rate(device.ComputeCapability)) : 0;
        return new GpuLimits(
            device.Name, device.Name, device.ComputeCapability, multiprocessors, clockMhz, memory, multiprocessors * EstimatedL2Bytes,
            Tflops(ConvFfmaCuda.Rate(device.ComputeCapability)), mma, mma);

        double Tflops(double multiplyAddsPerCycle) => 2 * multiplyAddsPerCycle * multiprocessors * clockMhz * 1e6 / 1e12;
    }

    /// <summary>
    /// The card that a driver's name for a device holds, where multiprocessors and memory are that card's too: names go on where cards differ
    /// ("A100-SXM4-80GB", "RTX 3090 Ti"). Null where there is none.
    /// </summary>
    /// <param name="deviceName">Such as "NVIDIA GeForce GTX 1080 Ti".</param>
    /// <param name="multiprocessors">Its multiprocessors.</param>
    /// <param name="memoryGBs">Its memory's bandwidth; 0 where the driver does not tell.</param>
    public static GpuLimits? Find(string deviceName, int multiprocessors, double memoryGBs)
    {
        const double Tolerance = 0.1;
        string name = deviceName.Replace(" ", "", StringComparison.Ordinal);
        return All.FirstOrDefault(g => name.Contains(g.Name, StringComparison.OrdinalIgnoreCase) && g.Multiprocessors == multiprocessors
            && (memoryGBs == 0 || Math.Abs(memoryGBs / g.MemoryGBs - 1) <= Tolerance));
    }
}
