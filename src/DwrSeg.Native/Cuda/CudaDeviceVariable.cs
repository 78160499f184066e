using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda;

/// <summary>An array in device memory, or a part of one.</summary>
/// <typeparam name="T">The element's type.</typeparam>
internal sealed unsafe class CudaDeviceVariable<T> : IDisposable
    where T : unmanaged
{
    private static readonly CudaHandle.Destroyer Free = (driver, value) => driver.MemFree(new CUdeviceptr((ulong)value));

    private readonly CudaHandle? _owned;
    private readonly CudaHandle? _keptAlive;
    private readonly CUdeviceptr _address;

    /// <summary>Allocates; the content is undefined.</summary>
    /// <exception cref="CudaException">Memory ran out; the message says how much was needed and free.</exception>
    public CudaDeviceVariable(CudaContext context, long size)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(size);
        (Context, Size) = (context, size);
        using ContextScope scope = context.Enter();
        CudaStatus.Check(context.Driver, context.Driver.MemAlloc(out _address, SizeInBytes), SizeInBytes);
        // Drivers wait for work that uses it, by habit and not by contract.
        _owned = _keptAlive = new CudaHandle(context.Handle, (nint)_address.Value, Free, awaitsDevice: true);
    }

    /// <summary>Allocates from the device's memory pool, in the stream's order: cheap. Not within a capture: the memory would be its graph's.</summary>
    public CudaDeviceVariable(CudaStream stream, long size)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(size);
        (Context, Size) = (stream.Context, size);
        using ContextScope scope = Context.Enter();
        CudaStatus.Check(Context.Driver, Context.Driver.MemAllocAsync(out _address, SizeInBytes, stream.Stream), SizeInBytes);
        // Pool memory is freed at once, whoever still uses it: so wait, unless FreeAsync gives it back in a stream's order.
        _owned = _keptAlive = new CudaHandle(Context.Handle, (nint)_address.Value, Free, awaitsDevice: true);
    }

    /// <summary>Wraps memory that other code owns (ManagedCuda's, ILGPU's, TorchSharp's) and keeps until this is no longer used.</summary>
    public CudaDeviceVariable(CudaContext context, CUdeviceptr foreign, long size) =>
        (Context, _address, Size) = (context, foreign, size);

    private CudaDeviceVariable(CudaDeviceVariable<T> whole, long first, long size)
    {
        (Context, Size, _keptAlive) = (whole.Context, size, whole._keptAlive);
        _address = whole.DevicePointer + (ulong)first * (ulong)sizeof(T);
    }

    public CudaContext Context { get; }

    /// <summary>Elements.</summary>
    public long Size { get; }

    public ulong SizeInBytes => checked((ulong)Size * (ulong)sizeof(T));

    /// <summary>Where it lies.</summary>
    /// <exception cref="ObjectDisposedException">It was freed.</exception>
    public CUdeviceptr DevicePointer
    {
        get
        {
            ObjectDisposedException.ThrowIf(_keptAlive is { IsClosed: true }, this);
            return _address;
        }
    }

    /// <summary>A part of it, which owns nothing: it is valid as long as the whole.</summary>
    public CudaDeviceVariable<T> Slice(long first, long size)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(first);
        ArgumentOutOfRangeException.ThrowIfNegative(size);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(first, Size);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(size, Size - first);
        return new CudaDeviceVariable<T>(this, first, size);
    }

    /// <summary>Copies to the device, in the stream's order, and waits for it.</summary>
    public void CopyToDevice(ReadOnlySpan<T> source, CudaStream stream)
    {
        CheckFits(source.Length);
        using ContextScope scope = Context.Enter();
        ICudaDriver driver = Context.Driver;
        fixed (T* pointer = source)
        {
            CudaStatus.Check(driver, driver.MemcpyHtoDAsync(DevicePointer, pointer, (ulong)source.Length * (ulong)sizeof(T), stream.Stream));
            CudaStatus.Check(driver, driver.StreamSynchronize(stream.Stream));
        }
    }

    /// <summary>Copies to the host, in the stream's order, and waits for it.</summary>
    public void CopyToHost(Span<T> target, CudaStream stream)
    {
        CheckFits(target.Length);
        using ContextScope scope = Context.Enter();
        ICudaDriver driver = Context.Driver;
        fixed (T* pointer = target)
        {
            CudaStatus.Check(driver, driver.MemcpyDtoHAsync(pointer, DevicePointer, (ulong)target.Length * (ulong)sizeof(T), stream.Stream));
            CudaStatus.Check(driver, driver.StreamSynchronize(stream.Stream));
        }
    }

    /// <summary>All of it on the host, for tests and tools.</summary>
    public T[] ToArray(CudaStream stream)
    {
        var values = new T[Size];
        CopyToHost(values, stream);
        return values;
    }

    /// <summary>Starts a copy from pinned memory, which must keep its content until the stream has passed it.</summary>
    public void CopyToDeviceAsync(CudaHostMemory<T> source, CudaStream stream)
    {
        CheckFits(source.Size);
        using ContextScope scope = Context.Enter();
        CudaStatus.Check(Context.Driver, Context.Driver.MemcpyHtoDAsync(DevicePointer, source.Pointer, source.SizeInBytes, stream.Stream));
    }

    /// <summary>Starts a copy to pinned memory, which holds the values once the stream has passed it.</summary>
    public void CopyToHostAsync(CudaHostMemory<T> target, CudaStream stream)
    {
        CheckFits(target.Size);
        using ContextScope scope = Context.Enter();
        CudaStatus.Check(Context.Driver, Context.Driver.MemcpyDtoHAsync(target.Pointer, DevicePointer, target.SizeInBytes, stream.Stream));
    }

    /// <summary>Starts a copy from other device memory of the same size.</summary>
    public void CopyFromDeviceAsync(CudaDeviceVariable<T> source, CudaStream stream)
    {
        if (source.Size != Size) throw new ArgumentException($"{source.Size} elements do not fill {Size}", nameof(source));
        CopyFromDeviceAsync(source.DevicePointer, stream);
    }

    /// <summary>Starts a copy of as much as this holds from device memory that may be foreign.</summary>
    public void CopyFromDeviceAsync(CUdeviceptr source, CudaStream stream)
    {
        using ContextScope scope = Context.Enter();
        CudaStatus.Check(Context.Driver, Context.Driver.MemcpyDtoDAsync(DevicePointer, source, SizeInBytes, stream.Stream));
    }

    /// <summary>Sets every byte.</summary>
    public void MemsetAsync(byte value, CudaStream stream)
    {
        using ContextScope scope = Context.Enter();
        CudaStatus.Check(Context.Driver, Context.Driver.MemsetD8Async(DevicePointer, value, SizeInBytes, stream.Stream));
    }

    /// <summary>Gives pool memory back in the stream's order, after the work that is on it.</summary>
    public void FreeAsync(CudaStream stream)
    {
        if (_owned is null) throw new InvalidOperationException("this memory belongs to other code or to a larger array");
        using ContextScope scope = Context.Enter();
        CudaStatus.Check(Context.Driver, Context.Driver.MemFreeAsync(DevicePointer, stream.Stream));
        _owned.Disown();
    }

    /// <summary>Frees it once the work that uses it has ended; a slice or foreign memory is left alone.</summary>
    public void Dispose() => _owned?.Dispose();

    private void CheckFits(long size)
    {
        if (size != Size) throw new ArgumentException($"{size} elements on the host, {Size} on the device; take a slice for a part");
    }
}
