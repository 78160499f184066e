using DwrSeg.Native.Cuda.Driver;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.PtxEmulator.Tests.Driver;

public unsafe class FaultInjectingDriverTests
{
    [Fact]
    public void WithoutAFaultItIsTheDriverBehindIt()
    {
        using var rig = new DriverRig();
        FaultInjectingDriver faults = FaultInjectingDriver.Wrap(rig.Driver);
        ICudaDriver driver = faults.Driver;
        Assert.Equal(rig.Driver.Description, driver.Description);
        Assert.Equal("CUDA_ERROR_NOT_FOUND", driver.GetErrorName(CUresult.NotFound));
        rig.Ok(driver.MemAlloc(out CUdeviceptr memory, 8));
        uint word = 41, result = 0;
        rig.Ok(driver.MemcpyHtoDAsync(memory, &word, 4, default));
        rig.Ok(driver.ModuleLoadData(out CUmodule module, DriverRig.Text(TestKernels.Ptx()), out string log));
        Assert.Empty(log);
        rig.Ok(driver.ModuleGetFunction(out CUfunction function, module, "bounded"));
        rig.Ok(driver.LaunchKernelEx(new LaunchConfiguration(1, 1, 1, 1, 1, 1, 0, rig.Stream()), function, null));
        rig.Ok(driver.MemcpyDtoHAsync(&result, memory, 4, default));
        Assert.Equal(word, result);
        Assert.Equal(["MemAlloc", "MemcpyHtoDAsync", "ModuleLoadData", "ModuleGetFunction", "LaunchKernelEx", "MemcpyDtoHAsync"],
            faults.Calls);
    }

    [Fact]
    public void TheChosenCallFailsWithoutReachingTheDriver()
    {
        using var rig = new DriverRig();
        FaultInjectingDriver faults = FaultInjectingDriver.Wrap(rig.Driver);
        faults.FailCall(nameof(ICudaDriver.MemAlloc), 1, CUresult.OutOfMemory);
        Assert.Throws<ArgumentException>(() => faults.FailCall("MemAlloq", 1, CUresult.OutOfMemory));
        rig.Ok(faults.Driver.MemAlloc(out _, 8));
        // Other methods' calls are not counted.
        rig.Ok(faults.Driver.CtxSynchronize());
        CUdeviceptr memory = new(123);
        Assert.Equal(CUresult.OutOfMemory, faults.Driver.MemAlloc(out memory, 8));
        Assert.Equal(default, memory);
        rig.Ok(faults.Driver.MemAlloc(out _, 8));
        Assert.Equal(2, rig.Emulated.Live.Allocations);
    }

    [Fact]
    public void EveryCallOfAMethodFailsUntilReset()
    {
        using var rig = new DriverRig();
        FaultInjectingDriver faults = FaultInjectingDriver.Wrap(rig.Driver);
        faults.FailEvery(nameof(ICudaDriver.MemHostAlloc), CUresult.OutOfMemory);
        faults.FailEvery(nameof(ICudaDriver.ModuleLoadData), CUresult.InvalidPtx);
        for (int i = 0; i < 3; i++)
        {
            Assert.Equal(CUresult.OutOfMemory, faults.Driver.MemHostAlloc(out void* memory, 8, 0));
            Assert.True(memory is null);
            Assert.Equal(CUresult.InvalidPtx, faults.Driver.ModuleLoadData(out _, [], out string log));
            Assert.Equal("", log);
            rig.Ok(faults.Driver.CtxSynchronize());
        }
        Assert.Equal(9, faults.Calls.Count);
        faults.Reset();
        Assert.Empty(faults.Calls);
        rig.Ok(faults.Driver.MemHostAlloc(out _, 8, 0));
        Assert.Throws<ArgumentException>(() => faults.FailEvery("MemAllock", CUresult.Unknown));
    }
}
