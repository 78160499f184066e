using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda;

/// <summary>The device's default pool, which <see cref="CudaDeviceVariable{T}(CudaStream, long)"/> allocates from; shared by the process.</summary>
internal sealed class CudaMemoryPool
{
    private readonly CudaContext _context;
    private readonly CUmemoryPool _pool;

    public CudaMemoryPool(CudaContext context)
    {
        _context = context;
        using ContextScope scope = context.Enter();
        CudaStatus.Check(context.Driver, context.Driver.DeviceGetDefaultMemPool(out _pool, context.Device.Handle));
    }

    /// <summary>Keeps up to so many freed bytes for later allocations instead of giving them back at every synchronisation.</summary>
    public void Keep(ulong bytes)
    {
        using ContextScope scope = _context.Enter();
        CudaStatus.Check(_context.Driver, _context.Driver.MemPoolSetReleaseThreshold(_pool, bytes));
    }

    /// <summary>Gives freed memory back to the device, but for so many bytes.</summary>
    public void Trim(ulong bytesToKeep = 0)
    {
        using ContextScope scope = _context.Enter();
        CudaStatus.Check(_context.Driver, _context.Driver.MemPoolTrimTo(_pool, bytesToKeep));
    }
}
