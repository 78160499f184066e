using System.Reflection;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Cuda.Libraries;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class NativeDriverTests
{
    [Fact]
    public void EveryEntryPointIsCheckedBeforeItIsCalled()
    {
        IEnumerable<string> declared = typeof(DriverApi).GetMethods(BindingFlags.Static | BindingFlags.Public).Select(m => m.Name);
        IEnumerable<string> listed = DriverApi.Required.Concat(DriverApi.Alternatives.SelectMany(a => (string[])[a.Newer, a.Older]));
        Assert.Equal(declared.Order(StringComparer.Ordinal), listed.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void OldDriverIsRefusedByTheCallItLacks()
    {
        var error = Assert.Throws<CudaException>(() => NativeDriver.CheckEntryPoints("/lib/libcuda.so.1", name => name != "cuMemAllocAsync"));
        Assert.Equal("cuMemAllocAsync", error.Call);
        Assert.Equal("/lib/libcuda.so.1 has no cuMemAllocAsync: the NVIDIA driver is too old. Install driver 460.27 (CUDA 11.2) or newer.", error.Message);
    }

    [Fact]
    public void OneOfTwoAlternativesIsEnough()
    {
        foreach ((string newer, string older) in DriverApi.Alternatives)
        {
            NativeDriver.CheckEntryPoints("a", name => name != newer);
            NativeDriver.CheckEntryPoints("a", name => name != older);
            var error = Assert.Throws<CudaException>(() => NativeDriver.CheckEntryPoints("a", name => name != newer && name != older));
            Assert.Equal(older, error.Call);
        }
    }

    [Fact]
    public void RealDriverAnswers()
    {
        Assert.SkipWhen(NativeLibraries.Find(NativeLibraries.Driver).Handle == 0, "this machine has no driver library (DWRSEG_CUDA_PATH may name one)");
        NativeDriver driver = NativeDriver.Instance;
        Assert.Equal(CUresult.Success, driver.DriverGetVersion(out int version));
        Assert.InRange(version, 11020, 99999);
        Assert.All(CudaStatus.Rows, row => Assert.Equal(row.Name, driver.GetErrorName(row.Status)));
        Assert.Null(driver.GetErrorName((CUresult)4711));
        CudaProbe probe = CudaDevices.Probe();
        if (driver.Init(0) == CUresult.NoDevice)
        {
            Assert.Empty(probe.Devices);
            Assert.StartsWith("cuInit failed: CUDA_ERROR_NO_DEVICE (100), ", probe.Problem, StringComparison.Ordinal);
        }
        else
        {
            Assert.NotEmpty(probe.Devices);
        }
    }
}
