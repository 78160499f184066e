using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
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

    /// <summary>Why a library can't be used: its file has not all the entry points that are called; empty where it has.</summary>
    /// <param name="library">The library that was found.</param>
    /// <param name="api">The class with its entry points.</param>
    /// <param name="install">What to install in its place.</param>
    /// <param name="but">Entry points that it may do without.</param>
    public static string Lacking(
        NativeLibraryResult library, [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicMethods)] Type api, string install,
        params ReadOnlySpan<string> but)
    {
        foreach (MethodInfo entry in api.GetMethods(BindingFlags.Public | BindingFlags.Static | BindingFlags.DeclaredOnly))
        {
            if (!but.Contains(entry.Name) && !NativeLibrary.TryGetExport(library.Handle, entry.Name, out _))
                return $"{library.Location} has no {entry.Name}: it is another library, or of another version; install {install}";
        }
        return "";
    }

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
