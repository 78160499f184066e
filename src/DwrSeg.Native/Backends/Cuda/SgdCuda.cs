using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>One tensor's update. All values are fp32; parameter and velocity are updated in place.</summary>
/// <param name="Parameter">Address of the parameter.</param>
/// <param name="Gradient">Its gradient.</param>
/// <param name="Velocity">Its velocity.</param>
/// <param name="Rate">The learning rate, a scalar.</param>
/// <param name="Count">Elements.</param>
/// <param name="Momentum">Share of the old velocity that stays.</param>
/// <param name="WeightDecay">Share of the parameter that is added to its gradient.</param>
internal readonly record struct CudaUpdate(
    CUdeviceptr Parameter, CUdeviceptr Gradient, CUdeviceptr Velocity, CUdeviceptr Rate, long Count, float Momentum, float WeightDecay);

/// <summary>Launches <c>sgd.cu</c>: all updates of a network in one launch, from a table that it keeps on the device.</summary>
internal sealed class SgdCuda : IDisposable
{
    private const int Threads = 256, Chunk = 4096;

    private readonly CudaDeviceVariable<Job> _table;

    /// <summary>Writes the table and settles the launch.</summary>
    /// <exception cref="ArgumentException">There is no update, or one is malformed.</exception>
    public SgdCuda(KernelCache kernels, ReadOnlySpan<CudaUpdate> updates, CudaStream stream)
    {
        if (updates.IsEmpty) throw new ArgumentException("sgd: there is nothing to update.");
        var jobs = new Job[updates.Length];
        long blocks = 0, elements = 0;
        bool isVector = true;
        for (int i = 0; i < updates.Length; i++)
        {
            CudaUpdate u = updates[i];
            Validate(i, u);
            jobs[i] = new Job
            {
                Parameter = u.Parameter, Velocity = u.Velocity, Gradient = u.Gradient, Rate = u.Rate, Count = u.Count,
                Momentum = u.Momentum, WeightDecay = u.WeightDecay, FirstBlock = checked((int)blocks),
            };
            blocks += Grid.Blocks(u.Count, Chunk);
            elements += u.Count;
            isVector &= (u.Parameter.Value | u.Velocity.Value | u.Gradient.Value) % CudaElements.VectorBytes == 0;
        }
        _table = new CudaDeviceVariable<Job>(kernels.Context, jobs.Length);
        try
        {
            _table.CopyToDevice(jobs, stream);
            Arguments arguments = new() { Jobs = _table.DevicePointer, Count = jobs.Length };
            int width = isVector ? CudaElement.Float32.PerVector() : 1;
            Launch = new CudaLaunch<Arguments>(kernels, Variant(width), new Grid(blocks), Threads, 0, arguments)
            {
                Bytes = 5 * sizeof(float) * elements,
                Flops = 6 * elements,
            };
        }
        catch
        {
            _table.Dispose();
            throw;
        }
    }

    /// <summary>All variants that a launch can be of.</summary>
    public static IEnumerable<KernelVariant> Variants => TrainingMaps.Widths.Select(Variant);

    public CudaLaunch Launch { get; }

    /// <summary>Frees the table; the launch is of no use then.</summary>
    public void Dispose() => _table.Dispose();

    private static KernelVariant Variant(int width) => KernelVariant.Of("sgd", $"WIDTH={width}");

    private static void Validate(int index, in CudaUpdate u)
    {
        if (u.Count <= 0) throw new ArgumentException($"sgd, update {index}: {u.Count} elements.");
        foreach (CUdeviceptr address in (ReadOnlySpan<CUdeviceptr>)[u.Parameter, u.Gradient, u.Velocity, u.Rate])
        {
            if (address.Value == 0 || address.Value % sizeof(float) != 0)
                throw new ArgumentException($"sgd, update {index}: address {address} is not one of fp32 values.");
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Job
    {
        public CUdeviceptr Parameter, Velocity, Gradient, Rate;
        public long Count;
        public float Momentum, WeightDecay;
        public int FirstBlock, Padding;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr Jobs;
        public int Count, Padding;
    }
}
