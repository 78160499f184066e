using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>cuDNN 8 or 9, where it is there.</summary>
internal sealed unsafe partial class CudnnLibrary
{
    private CudnnLibrary(string location, Version version) => (Location, Version) = (location, version);

    public string Location { get; }

    public Version Version { get; }

    /// <summary>Finds it; null and a reason where there is none that can be used.</summary>
    public static CudnnLibrary? TryOpen(out string problem)
    {
        NativeLibraryResult library = NativeLibraries.Find(NativeLibraries.Cudnn);
        problem = library.Problem;
        if (library.Handle == 0) return null;
        Version version = VersionOf((long)cudnnGetVersion());
        if (version.Major is 8 or 9) return new CudnnLibrary(library.Location, version);
        problem = $"{library.Location} is cuDNN {version}; install cuDNN 9 or 8";
        return null;
    }

    /// <summary>cuDNN 8 counts 1000 · major + 100 · minor, cuDNN 9 10000 · major + 100 · minor.</summary>
    internal static Version VersionOf(long number)
    {
        long unit = number < 90000 ? 1000 : 10000;
        return new Version((int)(number / unit), (int)(number % unit / 100), (int)(number % 100));
    }

    /// <summary>Makes what all its calls need.</summary>
    public CudnnHandle CreateHandle(CudaContext context)
    {
        using ContextScope scope = context.Enter();
        int status = cudnnCreate(out nint handle);
        if (status == 0) return new CudnnHandle(context, handle, static (_, value) => cudnnDestroy(value) == 0 ? CUresult.Success : CUresult.Unknown);
        string text = Marshal.PtrToStringUTF8((nint)cudnnGetErrorString(status)) ?? "unknown status";
        throw new CudaException(
            $"cudnnCreate failed: {text} ({status}). cuDNN {Version} ({Location}) needs all its libraries beside it, and a driver of its CUDA version.",
            nameof(cudnnCreate), status, text);
    }

    [LibraryImport(NativeLibraries.Cudnn)]
    private static partial nuint cudnnGetVersion();

    [LibraryImport(NativeLibraries.Cudnn)]
    private static partial byte* cudnnGetErrorString(int status);

    [LibraryImport(NativeLibraries.Cudnn)]
    private static partial int cudnnCreate(out nint handle);

    [LibraryImport(NativeLibraries.Cudnn)]
    private static partial int cudnnDestroy(nint handle);
}

/// <summary>A cuDNN handle of a context; for one thread at a time.</summary>
internal sealed class CudnnHandle(CudaContext context, nint value, CudaHandle.Destroyer destroy) : IDisposable
{
    private readonly CudaHandle _handle = new(context.Handle, value, destroy, awaitsDevice: true);

    public nint Value => _handle.Value;

    public void Dispose() => _handle.Dispose();
}
