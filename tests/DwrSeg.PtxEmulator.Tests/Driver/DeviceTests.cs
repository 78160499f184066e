using DwrSeg.Native.Cuda.Driver;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.PtxEmulator.Tests.Driver;

public class DeviceTests
{
    [Theory]
    [InlineData(61, 49152, 98304, 2048, 32)]
    [InlineData(75, 65536, 65536, 1024, 16)]
    [InlineData(80, 166912, 167936, 2048, 32)]
    [InlineData(86, 101376, 102400, 1536, 16)]
    [InlineData(89, 101376, 102400, 1536, 24)]
    [InlineData(90, 232448, 233472, 2048, 32)]
    public void LimitsAreTheArchitectures(int architecture, int sharedPerBlock, int sharedPerMultiprocessor, int threads, int blocks)
    {
        using var rig = new DriverRig(architecture);
        int Get(CUdeviceAttribute attribute)
        {
            rig.Ok(rig.Driver.DeviceGetAttribute(out int value, attribute, new CUdevice(0)));
            return value;
        }
        Assert.Equal(architecture, Get(CUdeviceAttribute.ComputeCapabilityMajor) * 10 + Get(CUdeviceAttribute.ComputeCapabilityMinor));
        Assert.Equal(sharedPerBlock, Get(CUdeviceAttribute.MaxSharedMemoryPerBlockOptin));
        Assert.Equal(sharedPerMultiprocessor, Get(CUdeviceAttribute.MaxSharedMemoryPerMultiprocessor));
        Assert.Equal(threads, Get(CUdeviceAttribute.MaxThreadsPerMultiprocessor));
        Assert.Equal(blocks, Get(CUdeviceAttribute.MaxBlocksPerMultiprocessor));
        Assert.Equal(49152, Get(CUdeviceAttribute.MaxSharedMemoryPerBlock));
        rig.Ok(rig.Driver.DeviceGetName(out string name, new CUdevice(0)));
        Assert.Equal($"emulated sm_{architecture}", name);
    }

    [Fact]
    public void EveryAttributeIsKnownOnEveryDevice()
    {
        foreach (int architecture in DeviceModel.Architectures)
        {
            using var rig = new DriverRig(architecture);
            foreach (CUdeviceAttribute attribute in Enum.GetValues<CUdeviceAttribute>())
            {
                rig.Ok(rig.Driver.DeviceGetAttribute(out int value, attribute, new CUdevice(0)));
                Assert.True(value > 0 || attribute is CUdeviceAttribute.Integrated or CUdeviceAttribute.ComputeCapabilityMinor,
                    $"{attribute} = {value}");
            }
            rig.Fails(CUresult.InvalidValue, rig.Driver.DeviceGetAttribute(out _, (CUdeviceAttribute)99999, new CUdevice(0)));
        }
    }

    // By hand from the architectures' published limits: what binds is named.
    [Theory]
    [InlineData(80, 256, 32, 0, 8)]         // 64 warps
    [InlineData(80, 256, 64, 0, 4)]         // 65536 registers, 64 · 256 a block
    [InlineData(80, 256, 72, 0, 3)]         // 28 warps of 72 registers fit, 8 a block
    [InlineData(80, 32, 32, 0, 32)]         // 32 blocks
    [InlineData(80, 128, 32, 81920, 2)]     // 164 KiB hold two times 80 + 1
    [InlineData(80, 128, 32, 82944, 2)]     // exactly 81 + 1
    [InlineData(80, 128, 32, 83072, 1)]     // one unit more than that
    [InlineData(86, 128, 32, 0, 12)]        // 48 warps
    [InlineData(86, 32, 32, 0, 16)]         // 16 blocks
    [InlineData(89, 32, 32, 0, 24)]         // 24 blocks
    [InlineData(75, 256, 32, 0, 4)]         // 32 warps
    [InlineData(75, 64, 32, 32768, 2)]      // 64 KiB without a reserve
    [InlineData(61, 256, 32, 49152, 2)]     // 96 KiB hold two of 48
    [InlineData(90, 1024, 65, 0, 0)]        // 72 registers a thread are more than there are
    [InlineData(90, 128, 32, 232448, 1)]    // the largest block
    [InlineData(90, 128, 32, 232449, 0)]    // and one byte more
    public void OccupancyIsWhatBindsFirst(int architecture, int threads, int registers, int sharedBytes, int blocks) =>
        Assert.Equal(blocks, DeviceModel.Of(architecture).Limits.ResidentBlocks(threads, registers, (ulong)sharedBytes));

    [Fact]
    public void NothingWorksBeforeInit()
    {
        using var driver = new EmulatedDriver();
        Assert.Equal(CUresult.NotInitialized, driver.DeviceGetCount(out _));
        Assert.Equal(CUresult.NotInitialized, driver.DevicePrimaryCtxRetain(out _, new CUdevice(0)));
        Assert.Equal(CUresult.NotInitialized, driver.CtxSynchronize());
        Assert.Equal(CUresult.NotInitialized, driver.MemAlloc(out _, 4));
    }

    [Fact]
    public void SeveralDevicesHaveTheirOwnContextsAndMemory()
    {
        using var rig = new DriverRig(
            new EmulatedDriverOptions { Devices = [DeviceModel.Of(90), DeviceModel.Of(61) with { MemoryBytes = 1 << 20 }] });
        rig.Ok(rig.Driver.DeviceGetCount(out int count));
        Assert.Equal(2, count);
        CUdeviceptr first = rig.Filled(4, 7);
        CUstream stream = rig.Stream();
        rig.Ok(rig.Driver.DevicePrimaryCtxRetain(out CUcontext other, new CUdevice(1)));
        rig.Ok(rig.Driver.CtxSetCurrent(other));
        CUdeviceptr second = rig.Filled(4, 9);
        Assert.NotEqual(first, second);
        rig.Ok(rig.Driver.MemGetInfo(out ulong free, out ulong total));
        Assert.Equal((1ul << 20, (1ul << 20) - 16), (total, free));
        rig.Fails(CUresult.InvalidHandle, rig.Driver.StreamSynchronize(stream));
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemFree(first));
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemsetD32Async(first, 1, 1, default));
        Assert.Equal(9u, rig.ReadWord(second));
        rig.Fails(CUresult.InvalidDevice, rig.Driver.DeviceGet(out _, 2));
    }

    [Fact]
    public void AnEmulatorWithoutDevicesSaysSo()
    {
        using var driver = new EmulatedDriver(new EmulatedDriverOptions { Devices = [] });
        Assert.Equal(CUresult.Success, driver.Init(0));
        Assert.Equal(CUresult.Success, driver.DeviceGetCount(out int count));
        Assert.Equal(0, count);
        Assert.Equal(CUresult.NoDevice, driver.DeviceGet(out _, 0));
    }

    [Fact]
    public void StatusesHaveTheDriversNames()
    {
        using var driver = new EmulatedDriver();
        Assert.Equal("CUDA_SUCCESS", driver.GetErrorName(CUresult.Success));
        Assert.Equal("CUDA_ERROR_INVALID_VALUE", driver.GetErrorName(CUresult.InvalidValue));
        Assert.Equal("CUDA_ERROR_NO_BINARY_FOR_GPU", driver.GetErrorName(CUresult.NoBinaryForGpu));
        Assert.Equal("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", driver.GetErrorName(CUresult.StreamCaptureUnsupported));
        Assert.Null(driver.GetErrorName((CUresult)12345));
        Assert.Null(driver.GetErrorString((CUresult)12345));
    }
}
