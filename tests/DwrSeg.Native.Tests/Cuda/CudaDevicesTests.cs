using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda;

public sealed class CudaDevicesTests
{
    [Fact]
    public void DevicesAreListedWithTheirProperties()
    {
        using var driver = new EmulatedDriver(new EmulatedDriverOptions { Devices = [DeviceModel.Of(80), DeviceModel.Of(90)] });
        TestNvrtc.Require();
        CudaProbe probe = CudaDevices.Probe(() => driver, () => Nvrtc.Instance);
        Assert.Null(probe.Problem);
        Assert.Equal([80, 90], probe.Devices.Select(d => d.Device.ComputeCapability.Number));
        Assert.All(probe.Devices, d =>
        {
            Assert.Null(d.Problem);
            Assert.InRange(d.Device.MultiprocessorCount, 1, 1000);
            Assert.InRange(d.Device.MaxSharedBytesPerBlock, 48 << 10, 256 << 10);
        });
    }

    [Fact]
    public void CompilerNewerThanTheDriverIsTheReason()
    {
        TestNvrtc.Require();
        using var old = new EmulatedDriver(new EmulatedDriverOptions { Devices = [DeviceModel.Of(80)], DriverVersion = 10020 });
        CudaProbe probe = CudaDevices.Probe(() => old, () => Nvrtc.Instance);
        Assert.Contains("the driver knows CUDA 10.2", probe.Problem, StringComparison.Ordinal);
        Assert.Contains("DWRSEG_CUDA_PATH", Assert.Single(probe.Devices).Problem, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("12.2", "12.8", false, true)]
    [InlineData("12.2", "12.8", true, false)]
    [InlineData("12.8", "12.8", true, true)]
    [InlineData("12.8", "13.0", false, false)]
    [InlineData("13.0", "12.8", true, true)]
    public void MachineCodeLoadsWithinAMajorVersion_PtxByADriverAsNew(string driver, string compiler, bool isPtx, bool loads)
    {
        string? problem = NvrtcNeeds.Problem(Version.Parse(driver), Version.Parse(compiler), new NvrtcTarget(new ComputeCapability(8, 0), isPtx));
        Assert.Equal(loads, problem is null);
    }

    [Theory]
    [InlineData(12040, new[] { 80 }, new[] { 12, 11 })]
    [InlineData(13000, new[] { 80 }, new[] { 13, 12, 11 })]
    [InlineData(13000, new[] { 90, 61 }, new[] { 12, 11 })]
    [InlineData(11040, new[] { 61 }, new[] { 11 })]
    [InlineData(13000, new int[0], new[] { 13, 12, 11 })]
    public void CompilersThatDriverAndDevicesNeedAreToldApart(int driverVersion, int[] devices, int[] suited)
    {
        using var driver = new EmulatedDriver(
            new EmulatedDriverOptions { Devices = [.. devices.Select(DeviceModel.Of)], DriverVersion = driverVersion });
        Assert.Equal(suited, new[] { 13, 12, 11 }.Where(NvrtcNeeds.Of(driver).Suits));
    }

    [Fact]
    public void MissingDriverIsTheReason()
    {
        CudaProbe probe = CudaDevices.Probe(() => throw new CudaException("libcuda.so.1 not found", "cuda", -1, ""), () => Nvrtc.Instance);
        Assert.Empty(probe.Devices);
        Assert.Equal("libcuda.so.1 not found", probe.Problem);
    }

    [Fact]
    public void NoDeviceIsTheReason()
    {
        using var driver = new EmulatedDriver(new EmulatedDriverOptions { Devices = [] });
        CudaProbe probe = CudaDevices.Probe(() => driver, () => Nvrtc.Instance);
        Assert.Empty(probe.Devices);
        Assert.Contains("CUDA_ERROR_NO_DEVICE", probe.Problem, StringComparison.Ordinal);
        Assert.Contains("CUDA_VISIBLE_DEVICES", probe.Problem, StringComparison.Ordinal);
    }

    [Fact]
    public void MissingCompilerIsTheReasonButDevicesAreListed()
    {
        using var driver = new EmulatedDriver(80);
        CudaProbe probe = CudaDevices.Probe(() => driver, () => throw new CudaException("libnvrtc not found", "nvrtc", -1, ""));
        Assert.Equal("libnvrtc not found", probe.Problem);
        Assert.Equal("libnvrtc not found", Assert.Single(probe.Devices).Problem);
    }

    [Fact]
    public void DeviceNumberThatIsNotThereIsAnError()
    {
        using var driver = new EmulatedDriver(80);
        Assert.Contains("nvidia-smi -L", Assert.Throws<CudaException>(() => new CudaContext(driver, 3)).Message, StringComparison.Ordinal);
    }
}
