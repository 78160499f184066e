using System.Collections.Concurrent;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;

namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>
/// The CUDA libraries of this process, each loaded at first use from where <see cref="NativeLibrarySearch"/> finds it. The
/// <c>[LibraryImport]</c>s of this assembly name them by these constants.
/// </summary>
internal static class NativeLibraries
{
    public const string Driver = "cuda";
    public const string Nvrtc = "nvrtc";
    public const string Cudnn = "cudnn";
    public const string CublasLt = "cublasLt";
    public const string Nvtx = "nvtx";
    public const string Cupti = "cupti";

    private static readonly ConcurrentDictionary<string, NativeLibraryResult> Found = new();

    /// <summary>Finds and loads a library; what was found, or was not, is kept for the process.</summary>
    public static NativeLibraryResult Find(string library) => Found.GetOrAdd(library, static name =>
    {
        // Which NVRTC will do depends on the driver and its devices.
        Func<int, bool>? suits = name == Nvrtc && NvrtcNeeds.OfThisMachine() is { } needs ? needs.Suits : null;
        return NativeLibrarySearch.System.Load(name, suits);
    });

    /// <summary>Finds and loads a library, and says where it lies.</summary>
    /// <exception cref="CudaException">It is nowhere; the message says where it was looked for and what to install.</exception>
    public static string Require(string library)
    {
        NativeLibraryResult result = Find(library);
        return result.Handle != 0 ? result.Location : throw new CudaException(result.Problem, library, -1, "");
    }

#pragma warning disable CA2255 // the resolver must be there before the first call, whichever type makes it
    [ModuleInitializer]
    internal static void Initialize() => NativeLibrary.SetDllImportResolver(typeof(NativeLibraries).Assembly, Resolve);
#pragma warning restore CA2255

    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? path) =>
        NativeLibrarySearch.Knows(name) ? Find(name).Handle : 0;
}
