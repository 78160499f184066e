using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda.Compilation;

/// <summary>What a driver and its devices ask of an NVRTC.</summary>
/// <param name="DriverVersion">The newest CUDA that the driver knows.</param>
/// <param name="Oldest">The oldest device; null where there is none.</param>
internal sealed record NvrtcNeeds(Version DriverVersion, ComputeCapability? Oldest)
{
    // Older majors know all devices that this project runs on.
    private const int FirstMajorWithoutVolta = 13;

    private static readonly ComputeCapability Turing = new(7, 5);

    /// <summary>The needs of this machine's driver; null where there is none that answers.</summary>
    public static NvrtcNeeds? OfThisMachine()
    {
        try
        {
            return Of(NativeDriver.Instance);
        }
        catch (CudaException)
        {
            return null;
        }
    }

    /// <summary>The needs of a driver.</summary>
    /// <exception cref="CudaException">It does not answer.</exception>
    public static NvrtcNeeds Of(ICudaDriver driver)
    {
        ComputeCapability? oldest = null;
        CudaStatus.Check(driver, driver.Init(0));
        CudaStatus.Check(driver, driver.DeviceGetCount(out int count));
        for (int i = 0; i < count; i++)
        {
            ComputeCapability device = new CudaDevice(driver, i).ComputeCapability;
            if (oldest is not { } known || device < known) oldest = device;
        }
        return new NvrtcNeeds(VersionOf(driver), oldest);
    }

    /// <summary>The newest CUDA that a driver knows.</summary>
    public static Version VersionOf(ICudaDriver driver)
    {
        CudaStatus.Check(driver, driver.DriverGetVersion(out int version));
        return new Version(version / 1000, version % 1000 / 10);
    }

    /// <summary>Whether an NVRTC of a major version makes code that the driver loads, for all its devices.</summary>
    public bool Suits(int major) => major <= DriverVersion.Major && (major < FirstMajorWithoutVolta || Oldest is not { } oldest || oldest >= Turing);

    /// <summary>
    /// Why the driver would not load what a compiler makes; null where it would. Machine code loads within a major version, PTX needs a
    /// driver as new as the compiler.
    /// </summary>
    public static string? Problem(Version driver, Version compiler, NvrtcTarget target)
    {
        if (target.IsPtx ? compiler <= driver : compiler.Major <= driver.Major) return null;
        string code = target.IsPtx ? $"PTX of NVRTC {compiler}" : $"kernels of NVRTC {compiler}";
        return $"the driver knows CUDA {driver} and does not load {code}: update the NVIDIA driver, or install an NVRTC that is no newer " +
            $"(`pip install nvidia-cuda-nvrtc-cu{driver.Major}`; DWRSEG_CUDA_PATH names its folder)";
    }
}
