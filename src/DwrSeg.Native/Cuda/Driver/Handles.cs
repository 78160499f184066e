namespace DwrSeg.Native.Cuda.Driver;

/// <summary>An address in device memory (<c>CUdeviceptr</c>).</summary>
/// <param name="Value">The address; 0 is none.</param>
public readonly record struct CUdeviceptr(ulong Value)
{
    /// <summary>The address so many bytes further on.</summary>
    public static CUdeviceptr operator +(CUdeviceptr address, ulong bytes) => new(address.Value + bytes);

    /// <inheritdoc/>
    public override string ToString() => $"0x{Value:x}";
}

/// <summary>A stream (<c>CUstream</c>); the zero handle is the context's default stream.</summary>
/// <param name="Value">The driver's handle.</param>
public readonly record struct CUstream(nint Value);

internal readonly record struct CUdevice(int Ordinal);

internal readonly record struct CUcontext(nint Value);

internal readonly record struct CUevent(nint Value);

internal readonly record struct CUmodule(nint Value);

internal readonly record struct CUfunction(nint Value);

internal readonly record struct CUgraph(nint Value);

internal readonly record struct CUgraphExec(nint Value);

internal readonly record struct CUmemoryPool(nint Value);
