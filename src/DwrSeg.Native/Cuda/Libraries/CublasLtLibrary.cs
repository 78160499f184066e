using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>cuBLASLt 11 to 13, where it is there.</summary>
internal sealed partial class CublasLtLibrary
{
    private CublasLtLibrary(string location, Version version) => (Location, Version) = (location, version);

    public string Location { get; }

    public Version Version { get; }

    /// <summary>Finds it; null and a reason where there is none.</summary>
    public static CublasLtLibrary? TryOpen(out string problem)
    {
        NativeLibraryResult library = NativeLibraries.Find(NativeLibraries.CublasLt);
        problem = library.Problem;
        return library.Handle == 0 ? null : new CublasLtLibrary(library.Location, VersionOf((long)cublasLtGetVersion()));
    }

    /// <summary>1000 · major + 100 · minor up to 11, 10000 · major + 100 · minor from 12 on.</summary>
    internal static Version VersionOf(long number)
    {
        long unit = number < 120000 ? 1000 : 10000;
        // cuBLASLt 11 already used five digits before the patch: 110601 is 11.6.1.
        if (number is >= 100000 and < 120000) unit = 10000;
        return new Version((int)(number / unit), (int)(number % unit / 100), (int)(number % 100));
    }

    /// <summary>Makes what all its calls need.</summary>
    public CublasLtHandle CreateHandle(CudaContext context)
    {
        using ContextScope scope = context.Enter();
        int status = cublasLtCreate(out nint handle);
        if (status == 0)
        {
            return new CublasLtHandle(context, handle, static (_, value) => cublasLtDestroy(value) == 0 ? CUresult.Success : CUresult.Unknown);
        }
        throw new CudaException(
            $"cublasLtCreate failed with status {status}. cuBLASLt {Version} ({Location}) needs a driver of its CUDA version.",
            nameof(cublasLtCreate), status, "");
    }

    [LibraryImport(NativeLibraries.CublasLt)]
    private static partial nuint cublasLtGetVersion();

    [LibraryImport(NativeLibraries.CublasLt)]
    private static partial int cublasLtCreate(out nint handle);

    [LibraryImport(NativeLibraries.CublasLt)]
    private static partial int cublasLtDestroy(nint handle);
}

/// <summary>A cuBLASLt handle of a context.</summary>
internal sealed class CublasLtHandle(CudaContext context, nint value, CudaHandle.Destroyer destroy) : IDisposable
{
    private readonly CudaHandle _handle = new(context.Handle, value, destroy, awaitsDevice: true);

    public nint Value => _handle.Value;

    public void Dispose() => _handle.Dispose();
}
