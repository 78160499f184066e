using DwrSeg.Native.Cuda.Driver;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.PtxEmulator.Tests.Driver;

public unsafe class ContextTests
{
    [Fact]
    public void ThePrimaryContextLivesUntilItsLastRelease()
    {
        using var rig = new DriverRig();
        rig.Ok(rig.Driver.DevicePrimaryCtxRetain(out CUcontext again, new CUdevice(0)));
        Assert.Equal(rig.Context, again);
        CUdeviceptr memory = rig.Alloc(16);
        rig.Ok(rig.Driver.DevicePrimaryCtxRelease(new CUdevice(0)));
        rig.Fill(memory, 1, 4, default);
        rig.Ok(rig.Driver.DevicePrimaryCtxRelease(new CUdevice(0)));
        rig.Fails(CUresult.ContextIsDestroyed, rig.Driver.CtxSynchronize());
        rig.Fails(CUresult.InvalidContext, rig.Driver.CtxSetCurrent(again));
        rig.Fails(CUresult.InvalidContext, rig.Driver.DevicePrimaryCtxRelease(new CUdevice(0)));
        Assert.Equal(default, rig.Emulated.Live);
    }

    [Fact]
    public void TheCurrentContextIsEachThreadsOwn()
    {
        using var rig = new DriverRig();
        CUresult status = CUresult.Unknown;
        CUcontext current = rig.Context;
        var thread = new Thread(() =>
        {
            rig.Ok(rig.Driver.CtxGetCurrent(out current));
            status = rig.Driver.CtxSynchronize();
        });
        thread.Start();
        thread.Join();
        Assert.Equal(default, current);
        Assert.Equal(CUresult.InvalidContext, status);
        rig.Ok(rig.Driver.CtxGetCurrent(out current));
        Assert.Equal(rig.Context, current);
        rig.Ok(rig.Driver.CtxSetCurrent(default));
        rig.Fails(CUresult.InvalidContext, rig.Driver.MemAlloc(out _, 4));
    }

    [Fact]
    public void ADisposedDriverAnswersLateCallsWithAStatus()
    {
        var rig = new DriverRig();
        CUstream stream = rig.Stream();
        CUdeviceptr memory = rig.Alloc(4);
        rig.Dispose();
        Assert.Equal(default, rig.Emulated.Live);
        var thread = new Thread(() =>
        {
            rig.Fails(CUresult.InvalidContext, rig.Driver.CtxSetCurrent(rig.Context));
            rig.Fails(CUresult.InvalidContext, rig.Driver.StreamDestroy(stream));
        });
        thread.Start();
        thread.Join();
        rig.Fails(CUresult.ContextIsDestroyed, rig.Driver.MemFree(memory));
        rig.Fails(CUresult.InvalidContext, rig.Driver.DevicePrimaryCtxRelease(new CUdevice(0)));
    }

    [Fact]
    public void EveryObjectIsCountedUntilItIsGivenBack()
    {
        using var rig = new DriverRig();
        CUdeviceptr memory = rig.Alloc(100);
        DriverRig.Pinned pinned = rig.Pin(1);
        CUstream stream = rig.Stream();
        CUevent @event = rig.Event();
        CUmodule module = rig.Load(TestKernels.Ptx());
        rig.Ok(rig.Driver.StreamBeginCapture(stream, CUstreamCaptureMode.ThreadLocal));
        CUgraph graph = rig.EndCapture(stream);
        CUgraphExec exec = rig.Instantiate(graph);
        Assert.Equal(new LiveObjects(1, 1, 100, 1, 1, 1, 1, 1, 1), rig.Emulated.Live);
        rig.Ok(rig.Driver.MemFree(memory));
        rig.Ok(rig.Driver.MemFreeHost(pinned.Pointer));
        rig.Ok(rig.Driver.StreamDestroy(stream));
        rig.Ok(rig.Driver.EventDestroy(@event));
        rig.Ok(rig.Driver.ModuleUnload(module));
        rig.Ok(rig.Driver.GraphDestroy(graph));
        rig.Ok(rig.Driver.GraphExecDestroy(exec));
        Assert.Equal(new LiveObjects(1, 0, 0, 0, 0, 0, 0, 0, 0), rig.Emulated.Live);
    }

    [Fact]
    public void GivingBackTwiceIsToldFromWhatNeverWas()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        rig.Ok(rig.Driver.StreamDestroy(stream));
        Assert.Contains("given back already", rig.Fails(CUresult.InvalidHandle, rig.Driver.StreamDestroy(stream)),
            StringComparison.Ordinal);
        Assert.Contains("never was", rig.Fails(CUresult.InvalidHandle, rig.Driver.StreamDestroy(new CUstream(0x7777))),
            StringComparison.Ordinal);
        CUevent @event = rig.Event();
        Assert.Contains("is a DeviceEvent", rig.Fails(CUresult.InvalidHandle, rig.Driver.StreamSynchronize(new CUstream(@event.Value))),
            StringComparison.Ordinal);
        rig.Ok(rig.Driver.EventDestroy(@event));
        rig.Fails(CUresult.InvalidHandle, rig.Driver.EventDestroy(@event));
        rig.Fails(CUresult.InvalidHandle, rig.Driver.EventRecord(@event, default));
        rig.Fails(CUresult.InvalidHandle, rig.Driver.ModuleUnload(default));
        rig.Fails(CUresult.InvalidHandle, rig.Driver.GraphDestroy(default));
        rig.Fails(CUresult.InvalidHandle, rig.Driver.GraphExecDestroy(default));
        rig.Fails(CUresult.InvalidHandle, rig.Driver.FuncGetAttribute(out _, CUfunctionAttribute.NumRegs, default));
        rig.Fails(CUresult.InvalidHandle, rig.TryLaunch(default, new LaunchConfiguration(1, 1, 1, 1, 1, 1, 0, default)));
    }

    [Fact]
    public void AFailureOfTheDeviceEndsTheContextForGood()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream(), other = rig.Stream();
        CUdeviceptr memory = rig.Filled(4, 1), kept = rig.Filled(4, 1);
        rig.Fill(memory, 2, 4, stream);
        rig.Fill(kept, 2, 4, other);
        rig.Ok(rig.Driver.MemFree(memory));
        string message = rig.Fails(CUresult.IllegalAddress, rig.Driver.StreamSynchronize(stream));
        Assert.Contains("UseAfterFree", message, StringComparison.Ordinal);
        Assert.Contains("allocation 1", message, StringComparison.Ordinal);
        rig.Fails(CUresult.IllegalAddress, rig.Driver.StreamSynchronize(other));
        rig.Fails(CUresult.IllegalAddress, rig.Driver.MemAlloc(out _, 4));
        rig.Fails(CUresult.IllegalAddress, rig.Driver.MemFree(kept));
        rig.Fails(CUresult.IllegalAddress, rig.Driver.MemsetD32Async(kept, 3, 4, stream));
        Assert.Contains(message, rig.Driver.GetErrorString(CUresult.IllegalAddress)!, StringComparison.Ordinal);
        // A fresh primary context starts anew.
        rig.Ok(rig.Driver.DevicePrimaryCtxRelease(new CUdevice(0)));
        rig.Ok(rig.Driver.DevicePrimaryCtxRetain(out CUcontext fresh, new CUdevice(0)));
        rig.Ok(rig.Driver.CtxSetCurrent(fresh));
        Assert.Equal(5u, rig.ReadWord(rig.Filled(1, 5)));
    }
}
