using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda;

/// <summary>A device that the driver lists.</summary>
/// <param name="Device">The device.</param>
/// <param name="Problem">Why it can't be used; null where it can.</param>
internal sealed record CudaDeviceEntry(CudaDevice Device, string? Problem);

/// <summary>What CUDA there is on this machine.</summary>
/// <param name="Devices">All devices of the driver, by number.</param>
/// <param name="Problem">Why there is none, or none can be used; null where at least one can.</param>
internal sealed record CudaProbe(IReadOnlyList<CudaDeviceEntry> Devices, string? Problem);

/// <summary>Finds out whether CUDA can be used, and if not, why.</summary>
internal static class CudaDevices
{
    /// <summary>Asks this machine's driver and NVRTC; no context is made.</summary>
    public static CudaProbe Probe() => Probe(() => NativeDriver.Instance, () => Nvrtc.Instance);

    /// <summary>Asks a driver and a compiler, which may both turn out to be missing.</summary>
    public static CudaProbe Probe(Func<ICudaDriver> openDriver, Func<Nvrtc> openCompiler)
    {
        try
        {
            ICudaDriver driver = openDriver();
            CudaStatus.Check(driver, driver.Init(0));
            CudaStatus.Check(driver, driver.DeviceGetCount(out int count));
            if (count == 0) throw CudaStatus.Failure(driver, CUresult.NoDevice, "cuDeviceGetCount");
            Nvrtc? compiler = null;
            string? noCompiler = null;
            try
            {
                compiler = openCompiler();
            }
            catch (CudaException e)
            {
                noCompiler = e.Message;
            }
            var devices = new List<CudaDeviceEntry>();
            for (int i = 0; i < count; i++)
            {
                var device = new CudaDevice(driver, i);
                devices.Add(new CudaDeviceEntry(device, noCompiler ?? Problem(device, compiler!)));
            }
            bool isUsable = devices.Exists(d => d.Problem is null);
            return new CudaProbe(devices, isUsable ? null : noCompiler ?? string.Join("; ", devices.Select(d => $"{d.Device}: {d.Problem}")));
        }
        catch (CudaException e)
        {
            return new CudaProbe([], e.Message);
        }
    }

    private static string? Problem(CudaDevice device, Nvrtc compiler)
    {
        try
        {
            NvrtcTarget target = compiler.TargetFor(device.ComputeCapability, wantsPtx: false);
            return NvrtcNeeds.Problem(NvrtcNeeds.VersionOf(device.Driver), compiler.Version, target);
        }
        catch (CudaException e)
        {
            return e.Message;
        }
    }
}
