using DwrSeg.Native.Cuda.Driver;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.PtxEmulator.Tests.Driver;

public class LaunchTests
{
    [Fact]
    public void AKernelRunsWhenItsStreamIsWaitedFor()
    {
        using var rig = new DriverRig(61);
        CUfunction add = rig.Function(rig.Load(TestKernels.Ptx()), "add");
        CUstream stream = rig.Stream();
        CUdeviceptr array = rig.Filled(100, 5);
        rig.Launch(add, 2, 64, stream, array.Value, 3, 99);
        Assert.Equal(5u, rig.ReadWord(array));
        rig.Synchronize(stream);
        uint[] result = rig.Read(array, 100);
        Assert.All(result[..99], x => Assert.Equal(8u, x));
        Assert.Equal(5u, result[99]);
    }

    [Theory]
    [InlineData(61)]
    [InlineData(75)]
    [InlineData(80)]
    [InlineData(86)]
    [InlineData(89)]
    [InlineData(90)]
    public void AKernelRunsOnEveryArchitectureFromItsOwnOn(int architecture)
    {
        using var rig = new DriverRig(architecture);
        CUfunction add = rig.Function(rig.Load(TestKernels.Ptx($"sm_{architecture}", "7.8")), "add");
        CUdeviceptr array = rig.Filled(40, 1);
        rig.Launch(add, 1, 40, default, array.Value, 1, 40);
        rig.Synchronize();
        Assert.All(rig.Read(array, 40), x => Assert.Equal(2u, x));
    }

    [Fact]
    public void AMissingWaitBetweenStreamsShowsAsOldData()
    {
        using var rig = new DriverRig();
        CUmodule module = rig.Load(TestKernels.Ptx());
        CUfunction add = rig.Function(module, "add"), copy = rig.Function(module, "copy");
        CUstream first = rig.Stream(), second = rig.Stream();
        CUdeviceptr array = rig.Filled(1, 5), result = rig.Filled(2, 0);
        rig.Launch(add, 1, 32, first, array.Value, 3, 1);
        rig.Launch(copy, 1, 1, second, result.Value, array.Value);
        rig.Synchronize(second);
        rig.Launch(add, 1, 32, first, array.Value, 3, 1);
        rig.Wait(second, rig.Record(first));
        rig.Launch(copy, 1, 1, second, result.Value + 4, array.Value);
        rig.Synchronize(second);
        Assert.Equal([5u, 11u], rig.Read(result, 2));
    }

    [Fact]
    public void ArgumentsAreTakenAtTheCall()
    {
        using var rig = new DriverRig();
        CUfunction add = rig.Function(rig.Load(TestKernels.Ptx()), "add");
        CUdeviceptr array = rig.Filled(1, 0);
        var arguments = new ulong[] { array.Value, 7, 1 };
        rig.Launch(add, 1, 1, default, arguments);
        Array.Clear(arguments);
        rig.Synchronize();
        Assert.Equal(7u, rig.ReadWord(array));
    }

    [Fact]
    public void AGraphOfKernelsRunsAtEachLaunch_WithTheArgumentsOfItsLastUpdate()
    {
        using var rig = new DriverRig();
        CUmodule module = rig.Load(TestKernels.Ptx());
        CUfunction add = rig.Function(module, "add"), copy = rig.Function(module, "copy");
        CUstream stream = rig.Stream();
        CUdeviceptr array = rig.Filled(8, 0), result = rig.Filled(1, 0);
        CUgraph Graph(ulong value)
        {
            rig.Ok(rig.Driver.StreamBeginCapture(stream, CUstreamCaptureMode.ThreadLocal));
            rig.Launch(add, 1, 8, stream, array.Value, value, 8);
            rig.Launch(copy, 1, 1, stream, result.Value, array.Value);
            return rig.EndCapture(stream);
        }
        CUgraphExec exec = rig.Instantiate(Graph(1));
        for (int i = 0; i < 3; i++) rig.Ok(rig.Driver.GraphLaunch(exec, stream));
        rig.Synchronize(stream);
        Assert.Equal(3u, rig.ReadWord(result));
        rig.Ok(rig.Driver.GraphExecUpdate(exec, Graph(10)));
        rig.Ok(rig.Driver.GraphLaunch(exec, stream));
        rig.Synchronize(stream);
        Assert.Equal(13u, rig.ReadWord(result));
        Assert.Equal(8, rig.Emulated.Launches.Count);
    }

    [Fact]
    public void AnAccessOutOfBoundsIsToldWithKernelLineThreadAndAllocation()
    {
        using var rig = new DriverRig();
        CUfunction add = rig.Function(rig.Load(TestKernels.Ptx()), "add");
        CUstream stream = rig.Stream();
        CUdeviceptr array = rig.Filled(10, 0);
        rig.Launch(add, 1, 11, stream, array.Value, 1, 11);
        string message = rig.Fails(CUresult.IllegalAddress, rig.Driver.StreamSynchronize(stream));
        string[] parts = ["OutOfBounds", "kernel add", "block (0, 0, 0)", "thread (10, 0, 0)", "ld.global.u32 %r5, [%rd7]", "allocation 1"];
        foreach (string part in parts)
            Assert.Contains(part, message, StringComparison.Ordinal);
        Assert.Contains("ld.global", rig.Fails(CUresult.IllegalAddress, rig.Driver.MemAlloc(out _, 4)), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(2, CUresult.MisalignedAddress)]
    [InlineData(-4, CUresult.IllegalAddress)]
    [InlineData(16, CUresult.IllegalAddress)]
    internal void FailuresHaveTheDevicesStatus(int offset, CUresult status)
    {
        using var rig = new DriverRig();
        CUfunction store = rig.Function(rig.Load(TestKernels.Ptx()), "store");
        CUdeviceptr array = rig.Filled(4, 0);
        rig.Launch(store, 1, 1, default, array.Value + (ulong)offset);
        rig.Fails(status, rig.Driver.CtxSynchronize());
    }

    [Fact]
    public void AReadOfMemoryThatNothingWroteFails_ButNotWhereThatIsNotLookedFor()
    {
        foreach (bool strict in new[] { true, false })
        {
            using var rig = new DriverRig(new EmulatedDriverOptions { Strict = strict });
            CUfunction copy = rig.Function(rig.Load(TestKernels.Ptx()), "copy");
            CUdeviceptr from = rig.Alloc(4), to = rig.Alloc(4);
            rig.Launch(copy, 1, 1, default, to.Value, from.Value);
            if (strict)
                Assert.Contains("UnwrittenRead", rig.Fails(CUresult.IllegalAddress, rig.Driver.CtxSynchronize()), StringComparison.Ordinal);
            else rig.Synchronize();
        }
    }

    [Fact]
    public void RegionsLiveAndDieInTheStreamsOrder()
    {
        using var rig = new DriverRig();
        CUfunction copy = rig.Function(rig.Load(TestKernels.Ptx()), "copy");
        CUstream stream = rig.Stream();
        CUdeviceptr arena = rig.Alloc(1024), result = rig.Filled(1, 0);
        rig.Ok(rig.Driver.MarkRegion(arena, 256, "logits", stream));
        rig.Fill(arena, 3, 64, stream);
        rig.Launch(copy, 1, 1, stream, result.Value, arena.Value);
        rig.Synchronize(stream);
        Assert.Equal(3u, rig.ReadWord(result));
        rig.Ok(rig.Driver.MarkRegion(arena, 256, null, stream));
        rig.Launch(copy, 1, 1, stream, result.Value, arena.Value);
        string message = rig.Fails(CUresult.IllegalAddress, rig.Driver.StreamSynchronize(stream));
        Assert.Contains("DeadRegion", message, StringComparison.Ordinal);
        Assert.Contains("logits", message, StringComparison.Ordinal);
    }

    [Fact]
    public void AReplayedMarkMakesTheRegionUnwrittenAgain()
    {
        using var rig = new DriverRig();
        CUfunction copy = rig.Function(rig.Load(TestKernels.Ptx()), "copy");
        CUstream stream = rig.Stream();
        CUdeviceptr arena = rig.Alloc(1024), result = rig.Filled(1, 0);
        CUgraphExec mark = rig.Capture(stream, () => rig.Ok(rig.Driver.MarkRegion(arena, 256, "logits", stream)));
        rig.Ok(rig.Driver.GraphLaunch(mark, stream));
        rig.Fill(arena, 3, 64, stream);
        rig.Launch(copy, 1, 1, stream, result.Value, arena.Value);
        rig.Synchronize(stream);
        rig.Ok(rig.Driver.GraphLaunch(mark, stream));
        rig.Launch(copy, 1, 1, stream, result.Value, arena.Value);
        Assert.Contains("UnwrittenRead", rig.Fails(CUresult.IllegalAddress, rig.Driver.StreamSynchronize(stream)),
            StringComparison.Ordinal);
    }

    [Fact]
    public void FreeingMemoryUnderAKernelIsAFailure()
    {
        using var rig = new DriverRig();
        CUfunction store = rig.Function(rig.Load(TestKernels.Ptx()), "store");
        CUdeviceptr array = rig.Filled(4, 0);
        rig.Launch(store, 1, 1, default, array.Value);
        rig.Ok(rig.Driver.MemFree(array));
        Assert.Contains("UseAfterFree", rig.Fails(CUresult.IllegalAddress, rig.Driver.CtxSynchronize()), StringComparison.Ordinal);
    }

    [Fact]
    public void UnloadingAModuleUnderAKernelIsAFailure()
    {
        using var rig = new DriverRig();
        CUmodule module = rig.Load(TestKernels.Ptx());
        CUfunction store = rig.Function(module, "store");
        CUdeviceptr array = rig.Filled(4, 0);
        rig.Launch(store, 1, 1, default, array.Value);
        rig.Ok(rig.Driver.ModuleUnload(module));
        Assert.Contains("unloaded", rig.Fails(CUresult.IllegalInstruction, rig.Driver.CtxSynchronize()), StringComparison.Ordinal);
    }

    [Fact]
    public void LaunchesAreLoggedInTheirOrderWithCounts()
    {
        using var rig = new DriverRig(new EmulatedDriverOptions { MaxLaunches = 3, Threads = 1 });
        CUmodule module = rig.Load(TestKernels.Ptx());
        CUfunction add = rig.Function(module, "add"), bounded = rig.Function(module, "bounded");
        CUdeviceptr array = rig.Filled(64, 0);
        rig.Launch(add, 2, 32, default, array.Value, 1, 64);
        rig.Launch(bounded, 1, 1, default);
        Assert.Empty(rig.Emulated.Launches);
        rig.Synchronize();
        IReadOnlyList<LaunchStatistics> launches = rig.Emulated.Launches;
        Assert.Equal(["add", "bounded"], launches.Select(l => l.Kernel));
        Assert.Equal(new LaunchShape(new Index3(2), new Index3(32)), launches[0].Shape);
        Assert.Equal(256, launches[0].Total.GlobalLoadBytes);
        Assert.Equal(256, launches[0].Total.GlobalStoreBytes);
        Assert.Equal(8, launches[0].LaunchLoadSectors);
        Assert.Equal(1024u, launches[1].SharedBytes);
        for (int i = 0; i < 3; i++) rig.Launch(bounded, 1, 1, default);
        rig.Synchronize();
        Assert.Equal(["bounded", "bounded", "bounded"], rig.Emulated.Launches.Select(l => l.Kernel));
        Assert.Equal(2, rig.Emulated.DroppedLaunches);
        rig.Emulated.ClearLaunches();
        Assert.Empty(rig.Emulated.Launches);
        Assert.Equal(0, rig.Emulated.DroppedLaunches);
    }

    [Theory]
    [InlineData(false, "", 2)]
    [InlineData(true, "", 2)]
    [InlineData(false, ".explicitcluster\n.reqnctapercluster 4, 1, 1", 0)]
    public void AKernelRunsInClusters(bool captured, string directives, uint blocks)
    {
        using var rig = new DriverRig();
        CUfunction function = rig.Function(rig.Load(PtxSnippet.Kernel(
            "mov.u32 %r0, %cluster_nctarank;\nmul.wide.u32 %a0, %cta, 4;\nadd.u64 %a0, %p0, %a0;\nst.global.u32 [%a0], %r0;",
            directives: directives)), "kernel");
        CUstream stream = rig.Stream();
        CUdeviceptr result = rig.Filled(8, 0);
        void Work() => rig.Ok(rig.TryLaunch(function, new LaunchConfiguration(8, 1, 1, 1, 1, 1, 0, stream, ClusterX: blocks), result.Value));
        if (captured) rig.Ok(rig.Driver.GraphLaunch(rig.Capture(stream, Work), stream));
        else Work();
        rig.Synchronize(stream);
        uint expected = blocks > 0 ? blocks : 4;
        Assert.All(rig.Read(result, 8), x => Assert.Equal(expected, x));
        Assert.Equal(expected, rig.Emulated.Launches.Single().Shape.ClusterX);
    }
}
