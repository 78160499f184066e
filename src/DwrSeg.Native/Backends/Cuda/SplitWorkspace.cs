using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// Where blocks that share sums meet (<c>split_k.cuh</c>). Launches of one stream can share one; launches that may run side by side can not.
/// </summary>
/// <param name="Partials">Memory of any content, on 16 bytes.</param>
/// <param name="PartialBytes">Its size.</param>
/// <param name="Arrivals">Counters, zero before the first launch; every launch leaves zeros.</param>
/// <param name="Tiles">How many.</param>
internal readonly record struct SplitWorkspace(CUdeviceptr Partials, long PartialBytes, CUdeviceptr Arrivals, int Tiles)
{
    /// <summary>Without memory no sum is shared.</summary>
    public static SplitWorkspace None => default;

    /// <summary>What is asked for to find out how much a launch would like.</summary>
    public static SplitWorkspace Unlimited => new(default, long.MaxValue, default, int.MaxValue);

    /// <summary>Memory and counters in one allocation, the counters zeroed in the stream's order.</summary>
    public static (CudaDeviceVariable<uint> Memory, SplitWorkspace Workspace) Allocate(CudaStream stream, long partialBytes, int tiles)
    {
        const int Vector = CudaElements.VectorBytes;
        long bytes = (partialBytes + Vector - 1) / Vector * Vector;
        var memory = new CudaDeviceVariable<uint>(stream.Context, bytes / sizeof(uint) + tiles);
        try
        {
            memory.Slice(bytes / sizeof(uint), tiles).CopyToDevice(new uint[tiles], stream);
        }
        catch
        {
            memory.Dispose();
            throw;
        }
        return (memory, new SplitWorkspace(memory.DevicePointer, bytes, memory.DevicePointer + (ulong)bytes, tiles));
    }

    public bool Holds((long PartialBytes, int Tiles) need) => need.Tiles <= Tiles && need.PartialBytes <= PartialBytes;

    public bool Holds(long tiles, int splits, int tileBytes) => tiles <= Tiles && tiles * splits * tileBytes <= PartialBytes;
}
