using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda;

/// <summary>Pinned host memory: what asynchronous copies need to be asynchronous.</summary>
/// <typeparam name="T">The element's type.</typeparam>
internal sealed unsafe class CudaHostMemory<T> : IDisposable
    where T : unmanaged
{
    private static readonly CudaHandle.Destroyer Free = (driver, value) => driver.MemFreeHost((void*)value);

    private readonly CudaHandle _handle;

    /// <summary>Allocates; the content is undefined.</summary>
    /// <exception cref="CudaException">The host's memory ran out, or no more may be pinned.</exception>
    public CudaHostMemory(CudaContext context, int size)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(size);
        Size = size;
        using ContextScope scope = context.Enter();
        CudaStatus.Check(context.Driver, context.Driver.MemHostAlloc(out void* memory, SizeInBytes, 0), SizeInBytes);
        // Copies under way still read or write it.
        _handle = new CudaHandle(context.Handle, (nint)memory, Free, awaitsDevice: true);
    }

    /// <summary>Elements.</summary>
    public int Size { get; }

    public ulong SizeInBytes => (ulong)Size * (ulong)sizeof(T);

    public T* Pointer => (T*)_handle.Value;

    /// <summary>The memory; not to be used after disposal.</summary>
    public Span<T> Span => new(Pointer, Size);

    /// <summary>Frees it once copies under way have ended.</summary>
    public void Dispose() => _handle.Dispose();
}
