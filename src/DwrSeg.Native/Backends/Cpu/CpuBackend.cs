using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cpu;

/// <summary>Executes layer graphs in fp32 on the processor: vectorised kernels over a pool of threads.</summary>
internal sealed class CpuBackend : IBackend
{
    private readonly Func<long> _availableMemory;

    /// <param name="threads">Threads to use, the caller's included; 0 takes one per processor.</param>
    /// <param name="availableMemory">Bytes that a new plan may take; null asks the system.</param>
    public CpuBackend(int threads = 0, Func<long>? availableMemory = null)
    {
        Pool = new WorkerPool(threads);
        _availableMemory = availableMemory ?? AvailableMemory.Bytes;
    }

    public string Name => "cpu";

    public string Description => $"{RuntimeInformation.ProcessArchitecture}, {Pool.Workers} threads, {VectorBits}-bit vectors";

    public string Arithmetic => $"{RuntimeInformation.ProcessArchitecture}, {VectorBits}-bit vectors";

    public Precision Precision => Precision.Float32;

    internal WorkerPool Pool { get; }

    // Sums are ordered by lane.
    private static int VectorBits => Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : 128;

    public ITensorStore CreateStore() => new CpuStore();

    public IPlan Compile(LayerGraph graph, ITensorStore store, PlanOptions? options = null)
    {
        if (store is not CpuStore cpuStore) throw new ArgumentException("The store belongs to another backend.", nameof(store));
        return new CpuPlan(graph, cpuStore, Pool, options ?? new PlanOptions(), _availableMemory);
    }

    public void Dispose() => Pool.Dispose();
}
