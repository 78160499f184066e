using DwrSeg.Native.Cuda.Libraries;
using DwrSeg.Native.Tests.Formats;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda;

public sealed class NativeLibrarySearchTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly Dictionary<string, string> _variables = [];

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void FoldersAreSearchedInTheOrderOfTheirNearness()
    {
        string chosen = Put("chosen/lib64/libnvrtc.so.12");
        string toolkit = Put("toolkit/lib64/libnvrtc.so.13");
        string local = Put("usr/local/cuda-12.4/lib64/libnvrtc.so.12");
        string environment = Put("venv/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12");
        string user = Put("home/.local/lib/python3.11/site-packages/nvidia/cu13/lib/libnvrtc.so.13");
        string system = Put("usr/lib/python3/dist-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.11.2");
        string repository = Put("repository/.tools/cuda/lib/libnvrtc.so.12");
        _variables[NativeLibrarySearch.OverrideVariable] = In("chosen");
        _variables["CUDA_HOME"] = In("toolkit");
        _variables["VIRTUAL_ENV"] = In("venv");
        _variables["HOME"] = In("home");
        Assert.Equal(
            [chosen, "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", toolkit, local, environment, user, system, repository],
            Search().Candidates(NativeLibraries.Nvrtc));
    }

    [Fact]
    public void VersionsThatDoNotSuitComeLast_ButStayInAChosenFolder()
    {
        string chosen13 = Put("chosen/libnvrtc.so.13"), chosen12 = Put("chosen/libnvrtc.so.12");
        string toolkit13 = Put("toolkit/lib64/libnvrtc.so.13"), local12 = Put("usr/local/cuda-12.4/lib64/libnvrtc.so.12");
        _variables["CUDA_HOME"] = In("toolkit");
        Assert.Equal(
            ["libnvrtc.so.12", "libnvrtc.so.11.2", local12, "libnvrtc.so.13", toolkit13],
            Search().Candidates(NativeLibraries.Nvrtc, major => major <= 12));
        _variables[NativeLibrarySearch.OverrideVariable] = In("chosen");
        Assert.Equal([chosen12, chosen13], Search().Candidates(NativeLibraries.Nvrtc, major => major <= 12).Take(2));
    }

    [Fact]
    public void NewerVersionOfAFolderComesFirst()
    {
        string old = Put("toolkit/lib64/libcudnn.so.8");
        string recent = Put("toolkit/lib64/libcudnn.so.9");
        _variables["CUDA_PATH"] = In("toolkit");
        Assert.Equal(["libcudnn.so.9", "libcudnn.so.8", recent, old], Search().Candidates(NativeLibraries.Cudnn));
    }

    [Fact]
    public void WindowsHasItsOwnNamesAndFolders()
    {
        string toolkit = Put("toolkit/bin/nvrtc64_120_0.dll");
        string toolkit13 = Put("toolkit/bin/x64/nvrtc64_130_0.dll");
        string pip = Put("venv/Lib/site-packages/nvidia/cuda_nvrtc/bin/nvrtc64_112_0.dll");
        string pip13 = Put("venv/Lib/site-packages/nvidia/cu13/bin/x86_64/nvrtc64_130_0.dll");
        _variables["CUDA_PATH"] = In("toolkit");
        _variables["VIRTUAL_ENV"] = In("venv");
        Assert.Equal(
            ["nvrtc64_130_0.dll", "nvrtc64_120_0.dll", "nvrtc64_112_0.dll", toolkit, toolkit13, pip13, pip],
            Search(windows: true).Candidates(NativeLibraries.Nvrtc));
    }

    [Fact]
    public void DriverIsNeverTakenFromAToolkit()
    {
        Put("toolkit/lib64/libcuda.so.1");
        Put("usr/local/cuda/lib64/libcuda.so.1");
        _variables["CUDA_HOME"] = In("toolkit");
        Assert.Equal(["libcuda.so.1"], Search().Candidates(NativeLibraries.Driver));
    }

    [Fact]
    public void MissingLibraryTellsNamesFoldersAndRemedy()
    {
        // No machine has cuDNN under this root, and the bare names are on no loader's path unless cuDNN is installed.
        NativeLibraryResult result = Search().Load(NativeLibraries.Cudnn);
        Assert.SkipWhen(result.Handle != 0, "cuDNN is installed");
        Assert.Equal(
            "libcudnn.so.9 (cuDNN) not found: looked for libcudnn.so.9, libcudnn.so.8 in the system's library path. To have it, install cuDNN 9 or 8, " +
            "or `pip install nvidia-cudnn-cu12`, or set DWRSEG_CUDA_PATH to its folder.",
            result.Problem);
    }

    [Fact]
    public void FileThatDoesNotLoadIsNamed()
    {
        string broken = Put("chosen/libcudnn.so.9");
        _variables[NativeLibrarySearch.OverrideVariable] = In("chosen");
        NativeLibraryResult result = Search().Load(NativeLibraries.Cudnn);
        Assert.SkipWhen(result.Handle != 0, "cuDNN is installed");
        Assert.Contains("Not loadable: ", result.Problem, StringComparison.Ordinal);
        Assert.Contains(broken, result.Problem, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(8907, "8.9.7")]
    [InlineData(90100, "9.1.0")]
    [InlineData(91002, "9.10.2")]
    public void CudnnVersionIsRead(long number, string version) => Assert.Equal(version, CudnnLibrary.VersionOf(number).ToString());

    [Theory]
    [InlineData(110601, "11.6.1")]
    [InlineData(120405, "12.4.5")]
    [InlineData(130002, "13.0.2")]
    public void CublasLtVersionIsRead(long number, string version) => Assert.Equal(version, CublasLtLibrary.VersionOf(number).ToString());

    private NativeLibrarySearch Search(bool windows = false) =>
        new(windows, _variables.GetValueOrDefault, In("repository/bin/Release"), _folder.Path);

    private string In(string path) => Path.Combine(_folder.Path, path);

    private string Put(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(In(path))!);
        File.WriteAllText(In(path), "no library");
        return In(path);
    }
}
