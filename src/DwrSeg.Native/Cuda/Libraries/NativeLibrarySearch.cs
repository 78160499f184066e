using System.Runtime.InteropServices;

namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>A library that was found and loaded, or why not.</summary>
/// <param name="Handle">The loader's handle; 0 where there is none.</param>
/// <param name="Location">The file.</param>
/// <param name="Problem">Where it was looked for and what to install; empty where it was found.</param>
internal sealed record NativeLibraryResult(nint Handle, string Location, string Problem);

/// <summary>
/// Finds CUDA's libraries by file name over several major versions: in <c>DWRSEG_CUDA_PATH</c>, on the system's own path, in a CUDA
/// toolkit, in the folders of pip's <c>nvidia-*</c> packages, and in <c>.tools/cuda/lib</c> of a folder above the program (this repository's tests).
/// </summary>
internal sealed class NativeLibrarySearch
{
    /// <summary>Names a folder (or its <c>lib64</c>, <c>lib</c> or <c>bin</c>) that is searched first.</summary>
    public const string OverrideVariable = "DWRSEG_CUDA_PATH";

    /// <summary>A row of the table.</summary>
    /// <param name="Name">What <c>[LibraryImport]</c>s call it.</param>
    /// <param name="Title">What people call it.</param>
    /// <param name="Linux">File names, newest first.</param>
    /// <param name="Windows">File names, newest first.</param>
    /// <param name="PipFolders">Folders of pip packages below <c>site-packages/nvidia</c>.</param>
    /// <param name="Install">What to do where it is missing.</param>
    internal sealed record Row(string Name, string Title, string[] Linux, string[] Windows, string[] PipFolders, string Install)
    {
        /// <summary>Major versions of the file names, for libraries where not every one will do.</summary>
        public int[] Majors { get; init; } = [];
    }

    internal static readonly Row[] Rows =
    [
        new(NativeLibraries.Driver, "the NVIDIA driver", ["libcuda.so.1"], ["nvcuda.dll"], [],
            "install the NVIDIA driver; in a container, start it with access to the GPUs"),
        new(NativeLibraries.Nvrtc, "NVRTC", ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2"],
            ["nvrtc64_130_0.dll", "nvrtc64_120_0.dll", "nvrtc64_112_0.dll"], ["cu13", "cuda_nvrtc"],
            $"install the CUDA toolkit, or `pip install nvidia-cuda-nvrtc-cu12`, or set {OverrideVariable} to its folder")
        {
            Majors = [13, 12, 11],
        },
        new(NativeLibraries.Cudnn, "cuDNN", ["libcudnn.so.9", "libcudnn.so.8"], ["cudnn64_9.dll", "cudnn64_8.dll"], ["cudnn"],
            $"install cuDNN 9 or 8, or `pip install nvidia-cudnn-cu12`, or set {OverrideVariable} to its folder"),
        new(NativeLibraries.CublasLt, "cuBLASLt", ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"],
            ["cublasLt64_13.dll", "cublasLt64_12.dll", "cublasLt64_11.dll"], ["cu13", "cublas"],
            $"install the CUDA toolkit, or `pip install nvidia-cublas-cu12`, or set {OverrideVariable} to its folder"),
        new(NativeLibraries.Cupti, "CUPTI", ["libcupti.so.13", "libcupti.so.12", "libcupti.so.11.8"],
            ["cupti64_2024.1.1.dll"], ["cu13", "cuda_cupti"],
            $"install the CUDA toolkit, or `pip install nvidia-cuda-cupti-cu12`, or set {OverrideVariable} to its folder"),
        new(NativeLibraries.Nvtx, "NVTX", ["libnvToolsExt.so.1"], ["nvToolsExt64_1.dll"], ["nvtx"],
            $"install a CUDA toolkit of version 12 or older, or `pip install nvidia-nvtx-cu12`, or set {OverrideVariable} to its folder"),
    ];

    private readonly bool _windows;
    private readonly Func<string, string?> _variable;
    private readonly string _program;
    private readonly string _root;

    /// <param name="windows">File names and folders of Windows, else of Linux.</param>
    /// <param name="variable">Reads an environment variable.</param>
    /// <param name="program">The program's folder.</param>
    /// <param name="root">What stands for <c>/</c>.</param>
    public NativeLibrarySearch(bool windows, Func<string, string?> variable, string program, string root = "/") =>
        (_windows, _variable, _program, _root) = (windows, variable, program, root);

    /// <summary>The search on this machine.</summary>
    public static NativeLibrarySearch System { get; } =
        new(OperatingSystem.IsWindows(), Environment.GetEnvironmentVariable, AppContext.BaseDirectory);

    /// <summary>Whether a name is one of the table's.</summary>
    public static bool Knows(string library) => Array.Exists(Rows, r => r.Name == library);

    /// <summary>
    /// What to try, in order: whole paths of files that exist, and bare names (one for each version) where it is the system loader's turn.
    /// </summary>
    /// <param name="library">The library.</param>
    /// <param name="suits">
    /// Whether a major version will do: others come last, behind all other places. Where <see cref="OverrideVariable"/> names a folder, what
    /// lies in it stays before everything else.
    /// </param>
    public IReadOnlyList<string> Candidates(string library, Func<int, bool>? suits = null)
    {
        Row row = Array.Find(Rows, r => r.Name == library)!;
        string[] names = _windows ? row.Windows : row.Linux;
        return [.. SuitedFirst(Files(OverrideFolders())), .. SuitedFirst(names.Concat(Files(Folders(row))))];

        IEnumerable<string> Files(IEnumerable<string> folders) =>
            folders.SelectMany(folder => names.Select(n => Path.Combine(folder, n)).Where(File.Exists));

        IEnumerable<string> SuitedFirst(IEnumerable<string> files) => suits is null || row.Majors.Length == 0
            ? files
            : files.OrderByDescending(f => suits(row.Majors[Array.IndexOf(names, Path.GetFileName(f))]));
    }

    /// <summary>Loads the first candidate that the system's loader takes.</summary>
    public NativeLibraryResult Load(string library, Func<int, bool>? suits = null)
    {
        Row row = Array.Find(Rows, r => r.Name == library)!;
        var refused = new List<string>();
        foreach (string candidate in Candidates(library, suits))
        {
            bool isFile = Path.IsPathRooted(candidate);
            try
            {
                nint handle = NativeLibrary.Load(candidate);
                return new NativeLibraryResult(handle, isFile ? candidate : LoadedFrom(candidate), "");
            }
            catch (DllNotFoundException e)
            {
                // A bare name that the system does not know is the usual case; a file that is there but does not load is worth a word.
                if (isFile) refused.Add(e.Message.ReplaceLineEndings(" ").Trim());
            }
            catch (BadImageFormatException)
            {
                refused.Add($"{candidate} is no library for this processor");
            }
        }
        return new NativeLibraryResult(0, "", Problem(row, refused));
    }

    private string Problem(Row row, List<string> refused)
    {
        string[] names = _windows ? row.Windows : row.Linux;
        IEnumerable<string> folders = [.. OverrideFolders(), "the system's library path", .. Folders(row)];
        string broken = refused.Count == 0 ? "" : $" Not loadable: {string.Join("; ", refused)}.";
        return $"{names[0]} ({row.Title}) not found: looked for {string.Join(", ", names)} in {string.Join(", ", folders)}.{broken} " +
            $"To have it, {row.Install}.";
    }

    private IEnumerable<string> OverrideFolders() =>
        _variable(OverrideVariable) is { Length: > 0 } folder ? WithLibraryFolders(Path.GetFullPath(folder)) : [];

    private IEnumerable<string> Folders(Row row)
    {
        // The driver comes with the system, never with a toolkit: what a toolkit holds is a stub.
        if (row.Name == NativeLibraries.Driver) return [];
        IEnumerable<string> toolkits = ToolkitFolders();
        // Toolkits keep it apart from their other libraries.
        if (row.Name == NativeLibraries.Cupti) toolkits = toolkits.SelectMany(f => (string[])[f, Path.Combine(Path.GetDirectoryName(f)!, "extras", "CUPTI", "lib64")]);
        return toolkits.Concat(PipFolders(row)).Concat(RepositoryFolders()).Distinct();
    }

    private IEnumerable<string> ToolkitFolders()
    {
        foreach (string variable in (string[])["CUDA_HOME", "CUDA_PATH"])
        {
            if (_variable(variable) is not { Length: > 0 } folder) continue;
            foreach (string inside in WithLibraryFolders(folder).Skip(1)) yield return inside;
        }
        string toolkits = Path.Combine(_root, "usr", "local");
        if (_windows || !Directory.Exists(toolkits)) yield break;
        foreach (string folder in Directory.GetDirectories(toolkits, "cuda*").OrderDescending(StringComparer.Ordinal))
        {
            yield return Path.Combine(folder, "lib64");
        }
    }

    private IEnumerable<string> PipFolders(Row row)
    {
        foreach (string prefix in PythonPrefixes())
        {
            foreach (string packages in SitePackages(prefix))
            {
                foreach (string pip in row.PipFolders)
                {
                    string folder = Path.Combine(packages, "nvidia", pip, _windows ? "bin" : "lib");
                    if (Directory.Exists(folder)) yield return folder;
                    // Windows packages of CUDA 13 keep their libraries one folder deeper.
                    if (_windows && Directory.Exists(Path.Combine(folder, "x86_64"))) yield return Path.Combine(folder, "x86_64");
                }
            }
        }
    }

    private IEnumerable<string> PythonPrefixes()
    {
        foreach (string variable in (string[])["VIRTUAL_ENV", "CONDA_PREFIX"])
        {
            if (_variable(variable) is { Length: > 0 } prefix) yield return prefix;
        }
        if (_windows)
        {
            if (_variable("LOCALAPPDATA") is not { Length: > 0 } local) yield break;
            string pythons = Path.Combine(local, "Programs", "Python");
            if (!Directory.Exists(pythons)) yield break;
            foreach (string python in Directory.GetDirectories(pythons).OrderDescending(StringComparer.Ordinal)) yield return python;
            yield break;
        }
        if (_variable("HOME") is { Length: > 0 } home) yield return Path.Combine(home, ".local");
        yield return Path.Combine(_root, "usr", "local");
        yield return Path.Combine(_root, "usr");
        yield return Path.Combine(_root, "opt", "conda");
    }

    private IEnumerable<string> SitePackages(string prefix)
    {
        if (_windows)
        {
            yield return Path.Combine(prefix, "Lib", "site-packages");
            yield break;
        }
        string lib = Path.Combine(prefix, "lib");
        if (!Directory.Exists(lib)) yield break;
        foreach (string python in Directory.GetDirectories(lib, "python3*").OrderDescending(StringComparer.Ordinal))
        {
            yield return Path.Combine(python, "site-packages");
            yield return Path.Combine(python, "dist-packages");
        }
    }

    private IEnumerable<string> RepositoryFolders()
    {
        for (DirectoryInfo? folder = new(_program); folder is not null; folder = folder.Parent)
        {
            string tools = Path.Combine(folder.FullName, ".tools", "cuda", _windows ? "bin" : "lib");
            if (Directory.Exists(tools)) yield return tools;
        }
    }

    private IEnumerable<string> WithLibraryFolders(string folder) =>
        [folder, .. (_windows ? (string[])["bin", Path.Combine("bin", "x64")] : ["lib64", "lib"]).Select(f => Path.Combine(folder, f))];

    /// <summary>The file behind a name that the system's loader took; the name where the system does not tell.</summary>
    private static string LoadedFrom(string name)
    {
        try
        {
            foreach (global::System.Diagnostics.ProcessModule module in global::System.Diagnostics.Process.GetCurrentProcess().Modules)
            {
                if (Path.GetFileName(module.FileName).StartsWith(name, StringComparison.OrdinalIgnoreCase)) return module.FileName;
            }
        }
        catch (Exception e) when (e is InvalidOperationException or global::System.ComponentModel.Win32Exception)
        {
            // The name will do.
        }
        return name;
    }
}
