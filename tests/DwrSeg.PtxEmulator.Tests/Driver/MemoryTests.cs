using DwrSeg.Native.Cuda.Driver;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.PtxEmulator.Tests.Driver;

public unsafe class MemoryTests
{
    [Fact]
    public void MemoryRunsOutAndComesBack()
    {
        using var rig = new DriverRig(memoryBytes: 1000);
        CUdeviceptr most = rig.Alloc(900);
        Assert.Contains("100 of 1000 free", rig.Fails(CUresult.OutOfMemory, rig.Driver.MemAlloc(out CUdeviceptr none, 101)),
            StringComparison.Ordinal);
        Assert.Equal(default, none);
        rig.Ok(rig.Driver.MemGetInfo(out ulong free, out ulong total));
        Assert.Equal((100ul, 1000ul), (free, total));
        rig.Alloc(100);
        rig.Ok(rig.Driver.MemFree(most));
        rig.Alloc(900);
        rig.Fails(CUresult.OutOfMemory, rig.Driver.MemAlloc(out _, ulong.MaxValue));
    }

    [Fact]
    public void PinnedMemoryRunsOutAndComesBack()
    {
        using var rig = new DriverRig(new EmulatedDriverOptions { PinnableBytes = 1000 });
        DriverRig.Pinned pinned = rig.Pin(200);
        rig.Fails(CUresult.OutOfMemory, rig.Driver.MemHostAlloc(out void* memory, 201, 0));
        Assert.True(memory is null);
        rig.Fails(CUresult.OutOfMemory, rig.Driver.MemHostAlloc(out _, ulong.MaxValue, 0));
        rig.Ok(rig.Driver.MemFreeHost(pinned.Pointer));
        rig.Pin(250);
    }

    [Fact]
    public void FreesThatCannotBeAreRefused()
    {
        using var rig = new DriverRig();
        CUdeviceptr memory = rig.Alloc(64);
        Assert.Contains("at byte 4 of", rig.Fails(CUresult.InvalidValue, rig.Driver.MemFree(memory + 4)), StringComparison.Ordinal);
        rig.Ok(rig.Driver.MemFree(memory));
        Assert.Contains("was freed", rig.Fails(CUresult.InvalidValue, rig.Driver.MemFree(memory)), StringComparison.Ordinal);
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemFree(default));
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemAlloc(out _, 0));
        DriverRig.Pinned pinned = rig.Pin(4);
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemFreeHost(pinned.Pointer + 1));
        rig.Ok(rig.Driver.MemFreeHost(pinned.Pointer));
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemFreeHost(pinned.Pointer));
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemHostAlloc(out _, 0, 0));
    }

    [Fact]
    public void CopiesAndFillsOutsideOfAllocationsAreRefused()
    {
        using var rig = new DriverRig();
        CUdeviceptr memory = rig.Filled(4, 1), other = rig.Filled(4, 1);
        uint word = 0;
        string message = rig.Fails(CUresult.InvalidValue, rig.Driver.MemcpyHtoDAsync(memory + 13, &word, 4, default));
        Assert.Contains("allocation 1", message, StringComparison.Ordinal);
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemcpyDtoHAsync(&word, new CUdeviceptr(memory.Value - 1), 4, default));
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemcpyDtoDAsync(memory, other + 4, 16, default));
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemcpyDtoDAsync(memory + 4, memory, 8, default));
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemsetD8Async(memory, 0, 17, default));
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemsetD32Async(memory, 0, 5, default));
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemsetD32Async(memory, 0, (1ul << 62) + 1, default));
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemsetD32Async(memory + 2, 0, 1, default));
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemcpyHtoDAsync(memory, null, 4, default));
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemcpyDtoHAsync(null, memory, 4, default));
        rig.Fails(CUresult.InvalidValue, rig.Driver.MarkRegion(memory, 17, "tensor", default));
        rig.Ok(rig.Driver.MemcpyDtoHAsync(null, memory, 0, default));
        Assert.Equal([1u, 1u, 1u, 1u], rig.Read(memory, 4));
    }

    [Fact]
    public void PageableMemoryIsCopiedAtTheCall_PinnedMemoryWhenTheStreamGetsThere()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        CUdeviceptr fromPageable = rig.Filled(1, 0), fromPinned = rig.Filled(1, 0);
        uint pageable = 1;
        DriverRig.Pinned pinned = rig.Pin(1, 1);
        rig.Ok(rig.Driver.MemcpyHtoDAsync(fromPageable, &pageable, 4, stream));
        rig.Upload(fromPinned, pinned, stream);
        pageable = 2;
        pinned.Words[0] = 2;
        rig.Synchronize(stream);
        Assert.Equal(1u, rig.ReadWord(fromPageable));
        Assert.Equal(2u, rig.ReadWord(fromPinned));
    }

    [Fact]
    public void ReadingPinnedMemoryWithoutWaitingFindsOldData()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        CUdeviceptr memory = rig.Filled(1, 7);
        rig.Ok(rig.Driver.MemHostAlloc(out void* fresh, 4, 0));
        rig.Ok(rig.Driver.MemcpyDtoHAsync(fresh, memory, 4, stream));
        Assert.Equal(0xA5A5A5A5u, *(uint*)fresh);
        rig.Synchronize(stream);
        Assert.Equal(7u, *(uint*)fresh);
        uint pageable = 0;
        rig.Fill(memory, 8, 1, stream);
        rig.Ok(rig.Driver.MemcpyDtoHAsync(&pageable, memory, 4, stream));
        Assert.Equal(8u, pageable);
    }

    [Fact]
    public void FreeingPinnedMemoryUnderACopyIsAFailure()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        CUdeviceptr memory = rig.Filled(1, 0);
        DriverRig.Pinned pinned = rig.Pin(1);
        rig.Upload(memory, pinned, stream);
        rig.Ok(rig.Driver.MemFreeHost(pinned.Pointer));
        Assert.Contains("freed before it ran", rig.Fails(CUresult.IllegalAddress, rig.Driver.StreamSynchronize(stream)),
            StringComparison.Ordinal);
    }

    [Fact]
    public void StreamOrderedMemoryIsFreedWhenTheStreamGetsThere()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        rig.Ok(rig.Driver.MemAllocAsync(out CUdeviceptr memory, 16, stream));
        rig.Fill(memory, 3, 4, stream);
        DriverRig.Pinned pinned = rig.Pin(4);
        rig.Download(pinned, memory, stream);
        rig.Ok(rig.Driver.MemFreeAsync(memory, stream));
        Assert.Equal(1, rig.Emulated.Live.Allocations);
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemFreeAsync(memory, stream));
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemFree(memory));
        rig.Synchronize(stream);
        Assert.Equal([3u, 3u, 3u, 3u], pinned.Words.ToArray());
        Assert.Equal(0, rig.Emulated.Live.Allocations);
        rig.Ok(rig.Driver.MemAllocAsync(out memory, 16, stream));
        rig.Ok(rig.Driver.MemFree(memory));
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemFreeAsync(rig.Alloc(4), stream));
    }

    [Fact]
    public void MemoryBeingFreedServesLaterStreamOrderedAllocations()
    {
        using var rig = new DriverRig(memoryBytes: 1000);
        CUstream stream = rig.Stream();
        for (int i = 0; i < 5; i++)
        {
            rig.Ok(rig.Driver.MemAllocAsync(out CUdeviceptr memory, 800, stream));
            rig.Fill(memory, 1, 200, stream);
            rig.Ok(rig.Driver.MemFreeAsync(memory, stream));
        }
        rig.Fails(CUresult.OutOfMemory, rig.Driver.MemAllocAsync(out _, 1001, stream));
        rig.Synchronize();
        Assert.Equal(0ul, rig.Emulated.Live.Bytes);
    }

    [Fact]
    public void UseAfterAStreamOrderedFreeIsAFailure()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        rig.Ok(rig.Driver.MemAllocAsync(out CUdeviceptr memory, 16, stream));
        rig.Ok(rig.Driver.MemFreeAsync(memory, stream));
        rig.Fill(memory, 3, 4, stream);
        Assert.Contains("UseAfterFree", rig.Fails(CUresult.IllegalAddress, rig.Driver.StreamSynchronize(stream)), StringComparison.Ordinal);
    }

    [Fact]
    public void UsingStreamOrderedMemoryOnAnotherStreamWithoutWaitingLosesWhatIsWritten()
    {
        foreach (bool waits in new[] { true, false })
        {
            using var rig = new DriverRig();
            CUfunction copy = rig.Function(rig.Load(TestKernels.Ptx()), "copy");
            CUstream owner = rig.Stream(), other = rig.Stream();
            CUdeviceptr result = rig.Filled(1, 0);
            rig.Ok(rig.Driver.MemAllocAsync(out CUdeviceptr memory, 16, owner));
            if (waits) rig.Wait(other, rig.Record(owner));
            rig.Fill(memory, 3, 4, other);
            rig.Synchronize(other);
            rig.Launch(copy, 1, 1, owner, result.Value, memory.Value);
            if (!waits)
            {
                string message = rig.Fails(CUresult.IllegalAddress, rig.Driver.StreamSynchronize(owner));
                Assert.Contains("UnwrittenRead", message, StringComparison.Ordinal);
                continue;
            }
            rig.Synchronize(owner);
            Assert.Equal(3u, rig.ReadWord(result));
        }
    }

    [Fact]
    public void PoolsAreTheDevices()
    {
        using var rig = new DriverRig();
        rig.Ok(rig.Driver.DeviceGetDefaultMemPool(out CUmemoryPool pool, new CUdevice(0)));
        rig.Ok(rig.Driver.MemPoolSetReleaseThreshold(pool, ulong.MaxValue));
        rig.Ok(rig.Driver.MemPoolTrimTo(pool, 0));
        rig.Fails(CUresult.InvalidValue, rig.Driver.MemPoolTrimTo(new CUmemoryPool(rig.Context.Value), 0));
    }
}
