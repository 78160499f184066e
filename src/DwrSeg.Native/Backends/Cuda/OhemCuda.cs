using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>A cross-entropy with online hard example mining.</summary>
/// <param name="Logits">A map of fp32 with a class a channel.</param>
/// <param name="Labels">Address of a byte a pixel.</param>
/// <param name="Ignore">The label of pixels that do not count.</param>
/// <param name="Threshold">Probability of the right class above which a pixel is easy; 1 keeps every valid pixel.</param>
/// <param name="MinKept">Share of the valid pixels that are kept at least.</param>
/// <param name="Loss">Where the loss goes, an fp32 scalar.</param>
/// <param name="Weights">Where each pixel's weight in it goes, fp32.</param>
internal readonly record struct CudaOhem(
    DeviceMap Logits, CUdeviceptr Labels, byte Ignore, float Threshold, double MinKept, CUdeviceptr Loss, CUdeviceptr Weights);

/// <summary>
/// Launches <c>ohem_losses.cu</c>, <c>ohem_boundary.cu</c> and <c>ohem_weights.cu</c>: a cross-entropy with hard example mining, with memory of its
/// own for what they hand on. A label that is neither a class nor the ignored id makes the loss NaN: labels are checked where they come from.
/// </summary>
internal sealed class OhemCuda : IDisposable
{
    private const int Threads = 256, LossPixels = 32, LossBlocksPerMultiprocessor = 8, ChunksPerMultiprocessor = 4;
    private const int SelectionBytes = 32, Buckets = 2048, LastBuckets = 512;

    // Where the digits of a loss begin.
    private static readonly int[] Shifts = [20, 9, 0];

    private readonly CudaDeviceVariable<byte> _memory;

    /// <summary>Takes memory and settles the launches.</summary>
    /// <exception cref="ArgumentException">Something does not fit; the message says what.</exception>
    public OhemCuda(KernelCache kernels, in CudaOhem ohem, CudaStream stream)
    {
        DeviceMap logits = ohem.Logits;
        Validate(ohem);
        int pixels = (int)logits.Pixels, multiprocessors = kernels.Context.Device.MultiprocessorCount;
        long rounds = Grid.Blocks(Grid.Blocks(pixels, Threads), (long)ChunksPerMultiprocessor * multiprocessors);
        int chunk = checked((int)(rounds * Threads)), blocks = (int)Grid.Blocks(pixels, chunk);
        long sums = SelectionBytes + Buckets * sizeof(uint), ties = sums + (long)blocks * sizeof(double), last = ties + (long)blocks * sizeof(uint);
        _memory = new CudaDeviceVariable<byte>(kernels.Context, last + (long)blocks * LastBuckets * sizeof(uint));
        try
        {
            // Counters; the launches leave them as they are to be found.
            _memory.Slice(0, sums).MemsetAsync(0, stream);
            CUdeviceptr selection = _memory.DevicePointer;
            float cutoff = ohem.Threshold >= 1 ? -1 : (float)-Math.Log(ohem.Threshold);
            LossArguments losses = new()
            {
                Logits = logits.Data, Labels = ohem.Labels, Losses = ohem.Weights, Selection = selection, MinKept = ohem.MinKept, Pixels = pixels,
                Stride = logits.PixelStride, Classes = logits.C, Ignore = ohem.Ignore, Cutoff = cutoff,
            };
            WeightArguments weights = new()
            {
                Weights = ohem.Weights, Loss = ohem.Loss, Selection = selection, FirstTies = selection + (ulong)ties, Sums = selection + (ulong)sums,
                Pixels = pixels, Chunk = chunk, Cutoff = cutoff,
            };
            var lossGrid = new Grid(Math.Min(Grid.Blocks(pixels, LossPixels), (long)LossBlocksPerMultiprocessor * multiprocessors));
            var grid = new Grid(blocks);
            long mapBytes = (long)sizeof(float) * pixels;
            Launches =
            [
                new CudaLaunch<LossArguments>(kernels, LossVariant, lossGrid, Threads, 0, losses)
                {
                    Bytes = logits.Bytes + pixels + mapBytes, Flops = 4 * logits.Elements,
                },
                .. Shifts.Select(shift => new CudaLaunch<BoundaryArguments>(kernels, BoundaryVariant, grid, Threads, 0, new BoundaryArguments
                {
                    Losses = losses.Losses, Selection = selection, Counts = selection + SelectionBytes, LastCounts = selection + (ulong)last,
                    FirstTies = weights.FirstTies, Pixels = pixels, Chunk = chunk, Shift = shift,
                }) { Bytes = mapBytes }),
                new CudaLaunch<WeightArguments>(kernels, WeightVariant, grid, Threads, 0, weights) { Bytes = 2 * mapBytes, Flops = pixels },
            ];
        }
        catch
        {
            _memory.Dispose();
            throw;
        }
    }

    /// <summary>One of each kernel.</summary>
    public static IEnumerable<KernelVariant> Variants => [LossVariant, BoundaryVariant, WeightVariant];

    /// <summary>In the order in which they have to run.</summary>
    public IReadOnlyList<CudaLaunch> Launches { get; }

    private static KernelVariant LossVariant { get; } = KernelVariant.Of("ohem_losses", "");

    private static KernelVariant BoundaryVariant { get; } = KernelVariant.Of("ohem_boundary", "");

    private static KernelVariant WeightVariant { get; } = KernelVariant.Of("ohem_weights", "");

    /// <summary>Frees the memory; the launches are of no use then.</summary>
    public void Dispose() => _memory.Dispose();

    private static void Validate(in CudaOhem ohem)
    {
        TrainingMaps.Validate("ohem, logits", ohem.Logits);
        if (ohem.Logits.Pixels > int.MaxValue)
            throw new ArgumentException($"ohem: {ohem.Logits} has too many pixels; at most 2^31 - 1: split the batch.");
        if (!(ohem.Threshold >= 0)) throw new ArgumentException($"ohem: a threshold of {ohem.Threshold}; it is a probability.");
        if (!(ohem.MinKept is >= 0 and <= 1)) throw new ArgumentException($"ohem: a share of {ohem.MinKept} to keep at least; it lies in 0 to 1.");
        if (ohem.Labels.Value == 0) throw new ArgumentException("ohem: there are no labels.");
        foreach (CUdeviceptr address in (ReadOnlySpan<CUdeviceptr>)[ohem.Loss, ohem.Weights])
        {
            if (address.Value == 0 || address.Value % sizeof(float) != 0)
                throw new ArgumentException($"ohem: address {address} is not one of fp32 values.");
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct LossArguments
    {
        public CUdeviceptr Logits, Labels, Losses, Selection;
        public double MinKept;
        public int Pixels, Stride, Classes, Ignore;
        public float Cutoff;
        public int Padding;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct BoundaryArguments
    {
        public CUdeviceptr Losses, Selection, Counts, LastCounts, FirstTies;
        public int Pixels, Chunk, Shift, Padding;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct WeightArguments
    {
        public CUdeviceptr Weights, Loss, Selection, FirstTies, Sums;
        public int Pixels, Chunk;
        public float Cutoff;
        public int Padding;
    }
}
