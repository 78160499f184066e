using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// Scratch memory of library calls: as much as the greediest of them asks for, since those of one stream follow each other. Asked for while steps
/// are made, allocated before the first of them runs.
/// </summary>
internal sealed class LibraryWorkspace(CudaContext context) : IDisposable
{
    private CudaDeviceVariable<byte>? _memory;
    private long _needed;

    /// <summary>Where it begins; 0 where nobody asked for any.</summary>
    public CUdeviceptr Address => _memory?.DevicePointer ?? default;

    public void Reserve(long bytes) => _needed = Math.Max(_needed, bytes);

    /// <summary>Allocates what was asked for so far; calls that were captured before hold the old address.</summary>
    public void Allocate()
    {
        if (_needed <= (_memory?.Size ?? 0)) return;
        Dispose();
        _memory = new CudaDeviceVariable<byte>(context, _needed);
    }

    public void Dispose()
    {
        _memory?.Dispose();
        _memory = null;
    }
}
