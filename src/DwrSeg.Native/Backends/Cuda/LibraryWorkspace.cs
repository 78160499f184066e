using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// Scratch memory of library calls: as much as the greediest of them asks for, since those of one stream follow each other. Asked for while steps
/// are made, allocated before the first of them runs.
/// </summary>
internal sealed class LibraryWorkspace(CudaContext context) : IDisposable
{
    // What was captured before holds the address of that time, so memory that became too small stays.
    private readonly List<CudaDeviceVariable<byte>> _memory = [];

    /// <summary>What was asked for so far and can be had.</summary>
    public long Needed { get; private set; }

    /// <summary>Where the largest begins; 0 where nobody asked for any.</summary>
    public CUdeviceptr Address => _memory.Count == 0 ? default : _memory[^1].DevicePointer;

    public void Reserve(long bytes) => Needed = Math.Max(Needed, bytes);

    /// <summary>Allocates what was asked for so far, where there is not so much yet. What can't be had is asked for no longer.</summary>
    public void Allocate()
    {
        long allocated = _memory.Count == 0 ? 0 : _memory[^1].Size;
        if (Needed <= allocated) return;
        try
        {
            _memory.Add(new CudaDeviceVariable<byte>(context, Needed));
        }
        catch
        {
            Needed = allocated;
            throw;
        }
    }

    public void Dispose()
    {
        foreach (CudaDeviceVariable<byte> memory in _memory) memory.Dispose();
        _memory.Clear();
    }
}
