using DwrSeg.Native.Cuda.Driver;
using Xunit;

namespace DwrSeg.PtxEmulator.Tests.Driver;

public unsafe class CaptureTests
{
    [Fact]
    public void CapturedWorkRunsAtEachLaunchAndNotBefore()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        CUdeviceptr memory = rig.Filled(4, 1), copy = rig.Filled(4, 0);
        DriverRig.Pinned source = rig.Pin(4, 5), target = rig.Pin(4);
        CUgraphExec exec = rig.Capture(stream, () =>
        {
            rig.Upload(memory, source, stream);
            rig.Copy(copy, memory, 4, stream);
            rig.Fill(memory, 9, 4, stream);
            rig.Download(target, copy, stream);
        });
        rig.Synchronize();
        Assert.Equal(1u, rig.ReadWord(memory));
        for (uint value = 6; value < 9; value++)
        {
            source.Words.Fill(value);
            rig.Ok(rig.Driver.GraphLaunch(exec, stream));
            rig.Synchronize(stream);
            Assert.Equal([value, value, value, value], target.Words.ToArray());
            Assert.Equal(9u, rig.ReadWord(memory));
        }
    }

    [Fact]
    public void ForksAndJoinsKeepTheirOrder()
    {
        for (int seed = 0; seed < 20; seed++)
        {
            using var rig = new DriverRig(seed: seed);
            CUstream stream = rig.Stream(), left = rig.Stream(), right = rig.Stream();
            CUdeviceptr memory = rig.Filled(4, 0);
            rig.Ok(rig.Driver.StreamBeginCapture(stream, CUstreamCaptureMode.ThreadLocal));
            rig.Fill(memory, 1, 1, stream);
            CUevent fork = rig.Record(stream);
            rig.Wait(left, fork);
            rig.Wait(right, fork);
            rig.Copy(memory + 4, memory, 1, left);
            rig.Copy(memory + 8, memory, 1, right);
            rig.Ok(rig.Driver.StreamIsCapturing(left, out CUstreamCaptureStatus status));
            Assert.Equal(CUstreamCaptureStatus.Active, status);
            rig.Wait(stream, rig.Record(left));
            rig.Wait(stream, rig.Record(right));
            rig.Copy(memory + 12, memory + 8, 1, stream);
            CUgraph graph = rig.EndCapture(stream);
            rig.Ok(rig.Driver.StreamIsCapturing(left, out status));
            Assert.Equal(CUstreamCaptureStatus.None, status);
            rig.Ok(rig.Driver.GraphGetNodeCount(graph, out ulong nodes));
            Assert.Equal(4ul, nodes);
            rig.Ok(rig.Driver.GraphLaunch(rig.Instantiate(graph), stream));
            rig.Synchronize(stream);
            Assert.Equal([1u, 1u, 1u, 1u], rig.Read(memory, 4));
        }
    }

    [Fact]
    public void BranchesOfAGraphRunInAnyOrder()
    {
        uint Last(int seed)
        {
            using var rig = new DriverRig(seed: seed);
            CUstream stream = rig.Stream(), branch = rig.Stream();
            CUdeviceptr memory = rig.Filled(1, 0);
            CUgraphExec exec = rig.Capture(stream, () =>
            {
                rig.Wait(branch, rig.Record(stream));
                rig.Fill(memory, 1, 1, branch);
                rig.Fill(memory, 2, 1, stream);
                rig.Wait(stream, rig.Record(branch));
            });
            rig.Ok(rig.Driver.GraphLaunch(exec, stream));
            rig.Synchronize(stream);
            return rig.ReadWord(memory);
        }
        Assert.Equal([1u, 2u], Enumerable.Range(0, 20).Select(Last).Distinct().Order());
    }

    [Fact]
    public void AGraphKeepsItsPlaceInTheStream()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        CUdeviceptr memory = rig.Filled(1, 0), first = rig.Filled(1, 0), second = rig.Filled(1, 0);
        CUgraphExec exec = rig.Capture(stream, () => rig.Copy(second, memory, 1, stream));
        rig.Fill(memory, 1, 1, stream);
        rig.Ok(rig.Driver.GraphLaunch(exec, stream));
        rig.Copy(first, second, 1, stream);
        rig.Fill(memory, 2, 1, stream);
        rig.Ok(rig.Driver.GraphLaunch(exec, stream));
        rig.Synchronize(stream);
        Assert.Equal((1u, 2u), (rig.ReadWord(first), rig.ReadWord(second)));
    }

    [Fact]
    public void DestroyingTheGraphOrTheExecLeavesLaunchesThatAreUnderWay()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        CUdeviceptr memory = rig.Filled(1, 1);
        CUgraphExec exec = rig.Capture(stream, () => rig.Fill(memory, 2, 1, stream));
        Assert.Equal(0, rig.Emulated.Live.Graphs);
        rig.Ok(rig.Driver.GraphLaunch(exec, stream));
        rig.Ok(rig.Driver.GraphExecDestroy(exec));
        rig.Fails(CUresult.InvalidHandle, rig.Driver.GraphLaunch(exec, stream));
        rig.Synchronize(stream);
        Assert.Equal(2u, rig.ReadWord(memory));
    }

    [Fact]
    public void AnUpdateChangesValuesOfLaterLaunches()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        CUdeviceptr memory = rig.Filled(4, 0), copy = rig.Filled(4, 0);
        CUgraph Graph(uint value, int words)
        {
            rig.Ok(rig.Driver.StreamBeginCapture(stream, CUstreamCaptureMode.ThreadLocal));
            rig.Fill(memory, value, words, stream);
            rig.Copy(copy, memory, words, stream);
            return rig.EndCapture(stream);
        }
        CUgraphExec exec = rig.Instantiate(Graph(1, 4));
        rig.Ok(rig.Driver.GraphLaunch(exec, stream));
        rig.Ok(rig.Driver.GraphExecUpdate(exec, Graph(2, 2)));
        rig.Synchronize(stream);
        Assert.Equal([1u, 1u, 1u, 1u], rig.Read(copy, 4));
        rig.Ok(rig.Driver.GraphLaunch(exec, stream));
        rig.Synchronize(stream);
        Assert.Equal([2u, 2u, 1u, 1u], rig.Read(copy, 4));
    }

    [Fact]
    public void AnUpdateToAnotherTopologyIsRefusedAndChangesNothing()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream(), branch = rig.Stream();
        CUdeviceptr memory = rig.Filled(4, 0);
        CUgraph Graph(Action work)
        {
            rig.Ok(rig.Driver.StreamBeginCapture(stream, CUstreamCaptureMode.ThreadLocal));
            work();
            return rig.EndCapture(stream);
        }
        CUgraphExec exec = rig.Instantiate(Graph(() =>
        {
            rig.Fill(memory, 1, 1, stream);
            rig.Fill(memory + 4, 1, 1, stream);
        }));
        CUgraph longer = Graph(() =>
        {
            for (int i = 0; i < 3; i++) rig.Fill(memory, 2, 1, stream);
        });
        CUgraph otherKind = Graph(() =>
        {
            rig.Fill(memory, 2, 1, stream);
            rig.Copy(memory, memory + 8, 1, stream);
        });
        CUgraph otherEdges = Graph(() =>
        {
            rig.Wait(branch, rig.Record(stream));
            rig.Fill(memory, 2, 1, branch);
            rig.Fill(memory + 4, 2, 1, stream);
            rig.Wait(stream, rig.Record(branch));
        });
        foreach (CUgraph graph in new[] { longer, otherKind, otherEdges })
            rig.Fails(CUresult.GraphExecUpdateFailure, rig.Driver.GraphExecUpdate(exec, graph));
        rig.Ok(rig.Driver.GraphLaunch(exec, stream));
        rig.Synchronize(stream);
        Assert.Equal([1u, 1u, 0u, 0u], rig.Read(memory, 4));
    }

    [Fact]
    public void MarksOfRegionsAreNoNodes()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        CUdeviceptr memory = rig.Filled(4, 0);
        CUgraph Graph(bool marked)
        {
            rig.Ok(rig.Driver.StreamBeginCapture(stream, CUstreamCaptureMode.ThreadLocal));
            rig.Fill(memory, 1, 1, stream);
            if (marked) rig.Ok(rig.Driver.MarkRegion(memory, 16, "tensor", stream));
            rig.Fill(memory, 2, 1, stream);
            return rig.EndCapture(stream);
        }
        CUgraph plain = Graph(marked: false), withMark = Graph(marked: true);
        rig.Ok(rig.Driver.GraphGetNodeCount(withMark, out ulong nodes));
        Assert.Equal(2ul, nodes);
        rig.Ok(rig.Driver.GraphExecUpdate(rig.Instantiate(plain), withMark));
    }

    [Fact]
    public void AGraphLaunchedIntoACaptureIsOneNode()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        CUdeviceptr memory = rig.Filled(2, 0);
        CUgraphExec inner = rig.Capture(stream, () =>
        {
            rig.Fill(memory, 1, 1, stream);
            rig.Copy(memory + 4, memory, 1, stream);
        });
        rig.Ok(rig.Driver.StreamBeginCapture(stream, CUstreamCaptureMode.ThreadLocal));
        rig.Ok(rig.Driver.GraphLaunch(inner, stream));
        CUgraph outer = rig.EndCapture(stream);
        rig.Ok(rig.Driver.GraphGetNodeCount(outer, out ulong nodes));
        Assert.Equal(1ul, nodes);
        rig.Ok(rig.Driver.GraphLaunch(rig.Instantiate(outer), stream));
        rig.Synchronize(stream);
        Assert.Equal([1u, 1u], rig.Read(memory, 2));
    }

    /// <summary>Calls that wait or allocate, by name.</summary>
    public static TheoryData<string> WaitingCalls =>
    [
        "StreamSynchronize", "StreamQuery", "CtxSynchronize", "MemAlloc", "MemFree", "MemHostAlloc", "MemFreeHost", "EventQuery",
        "EventSynchronize", "ModuleUnload", "MemAllocAsync", "MemFreeAsync", "StreamDestroy",
    ];

    [Theory]
    [MemberData(nameof(WaitingCalls))]
    public void ACallThatWaitsBreaksTheCapture(string call)
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        CUdeviceptr memory = rig.Filled(1, 0);
        DriverRig.Pinned pinned = rig.Pin(1);
        CUevent @event = rig.Event();
        CUmodule module = rig.Load(TestKernels.Ptx());
        rig.Ok(rig.Driver.MemAllocAsync(out CUdeviceptr pooled, 4, stream));
        rig.Ok(rig.Driver.StreamBeginCapture(stream, CUstreamCaptureMode.ThreadLocal));
        rig.Fill(memory, 1, 1, stream);
        rig.Fails(CUresult.StreamCaptureUnsupported, call switch
        {
            "StreamSynchronize" => rig.Driver.StreamSynchronize(stream),
            "StreamQuery" => rig.Driver.StreamQuery(stream),
            "CtxSynchronize" => rig.Driver.CtxSynchronize(),
            "MemAlloc" => rig.Driver.MemAlloc(out _, 4),
            "MemFree" => rig.Driver.MemFree(memory),
            "MemHostAlloc" => rig.Driver.MemHostAlloc(out _, 4, 0),
            "MemFreeHost" => rig.Driver.MemFreeHost(pinned.Pointer),
            "EventQuery" => rig.Driver.EventQuery(@event),
            "EventSynchronize" => rig.Driver.EventSynchronize(@event),
            "ModuleUnload" => rig.Driver.ModuleUnload(module),
            "MemAllocAsync" => rig.Driver.MemAllocAsync(out _, 4, stream),
            "MemFreeAsync" => rig.Driver.MemFreeAsync(pooled, stream),
            "StreamDestroy" => rig.Driver.StreamDestroy(stream),
            _ => throw new ArgumentException(call, nameof(call)),
        });
        rig.Ok(rig.Driver.StreamIsCapturing(stream, out CUstreamCaptureStatus status));
        Assert.Equal(CUstreamCaptureStatus.Invalidated, status);
        rig.Fails(CUresult.StreamCaptureInvalidated, rig.Driver.MemsetD32Async(memory, 1, 1, stream));
        rig.Fails(CUresult.StreamCaptureInvalidated, rig.Driver.StreamEndCapture(stream, out CUgraph graph));
        Assert.Equal(default, graph);
        // The stream works as before.
        rig.Fill(memory, 2, 1, stream);
        rig.Synchronize(stream);
        Assert.Equal(2u, rig.ReadWord(memory));
    }

    [Theory]
    [InlineData(CUstreamCaptureMode.Global, true)]
    [InlineData(CUstreamCaptureMode.ThreadLocal, false)]
    [InlineData(CUstreamCaptureMode.Relaxed, false)]
    internal void TheModeSaysWhatOtherThreadsMayDo(CUstreamCaptureMode mode, bool forbidden)
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        rig.Ok(rig.Driver.StreamBeginCapture(stream, mode));
        CUresult status = CUresult.Unknown;
        var thread = new Thread(() =>
        {
            rig.Driver.CtxSetCurrent(rig.Context);
            status = rig.Driver.MemAlloc(out _, 4);
        });
        thread.Start();
        thread.Join();
        Assert.Equal(forbidden ? CUresult.StreamCaptureUnsupported : CUresult.Success, status);
        Assert.Equal(forbidden ? CUresult.StreamCaptureInvalidated : CUresult.Success, rig.Driver.StreamEndCapture(stream, out _));
    }

    [Theory]
    [InlineData(CUstreamCaptureMode.Global)]
    [InlineData(CUstreamCaptureMode.ThreadLocal)]
    [InlineData(CUstreamCaptureMode.Relaxed)]
    internal void NoModeLetsAThreadWaitForTheContext(CUstreamCaptureMode mode)
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        rig.Ok(rig.Driver.StreamBeginCapture(stream, mode));
        CUresult status = CUresult.Unknown;
        var thread = new Thread(() =>
        {
            rig.Driver.CtxSetCurrent(rig.Context);
            status = rig.Driver.CtxSynchronize();
        });
        thread.Start();
        thread.Join();
        Assert.Equal(CUresult.StreamCaptureUnsupported, status);
        rig.Fails(CUresult.StreamCaptureInvalidated, rig.Driver.StreamEndCapture(stream, out _));
    }

    [Fact]
    public void ARelaxedCaptureAllowsAllocationsOnItsOwnThread()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        rig.Ok(rig.Driver.StreamBeginCapture(stream, CUstreamCaptureMode.Relaxed));
        rig.Alloc(4);
        rig.EndCapture(stream);
    }

    [Fact]
    public void TheDefaultStreamCanNeitherBeCapturedNorUsedBesideACapturedBlockingStream()
    {
        using var rig = new DriverRig();
        rig.Fails(CUresult.StreamCaptureUnsupported, rig.Driver.StreamBeginCapture(default, CUstreamCaptureMode.Relaxed));
        CUdeviceptr memory = rig.Filled(1, 0);
        CUstream blocking = rig.Stream(flags: 0), free = rig.Stream();
        rig.Ok(rig.Driver.StreamBeginCapture(free, CUstreamCaptureMode.ThreadLocal));
        rig.Fill(memory, 1, 1, default);
        rig.EndCapture(free);
        rig.Ok(rig.Driver.StreamBeginCapture(blocking, CUstreamCaptureMode.ThreadLocal));
        rig.Fails(CUresult.StreamCaptureImplicit, rig.Driver.MemsetD32Async(memory, 1, 1, default));
        rig.Fails(CUresult.StreamCaptureInvalidated, rig.Driver.StreamEndCapture(blocking, out _));
    }

    [Fact]
    public void CapturesThatDoNotEndAsTheyBeganAreRefused()
    {
        using var rig = new DriverRig();
        CUdeviceptr memory = rig.Filled(1, 0);
        CUstream stream = rig.Stream(), branch = rig.Stream();
        rig.Fails(CUresult.IllegalState, rig.Driver.StreamEndCapture(stream, out _));
        void Begin() => rig.Ok(rig.Driver.StreamBeginCapture(stream, CUstreamCaptureMode.ThreadLocal));

        Begin();
        rig.Fails(CUresult.IllegalState, rig.Driver.StreamBeginCapture(stream, CUstreamCaptureMode.ThreadLocal));
        rig.Wait(branch, rig.Record(stream));
        rig.Fill(memory, 1, 1, branch);
        rig.Fails(CUresult.StreamCaptureUnjoined, rig.Driver.StreamEndCapture(stream, out _));

        Begin();
        rig.Wait(branch, rig.Record(stream));
        rig.Fails(CUresult.StreamCaptureUnmatched, rig.Driver.StreamEndCapture(branch, out _));
        rig.Fails(CUresult.StreamCaptureInvalidated, rig.Driver.StreamEndCapture(stream, out _));

        Begin();
        CUresult status = CUresult.Unknown;
        var thread = new Thread(() =>
        {
            rig.Driver.CtxSetCurrent(rig.Context);
            status = rig.Driver.StreamEndCapture(stream, out _);
        });
        thread.Start();
        thread.Join();
        Assert.Equal(CUresult.StreamCaptureWrongThread, status);
        rig.EndCapture(stream);
    }

    [Fact]
    public void EventsDoNotCrossTheBorderOfACapture()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream(), other = rig.Stream();
        CUevent outside = rig.Record(other);
        rig.Ok(rig.Driver.StreamBeginCapture(stream, CUstreamCaptureMode.Relaxed));
        rig.Wait(stream, rig.Event());
        rig.Fails(CUresult.StreamCaptureIsolation, rig.Driver.StreamWaitEvent(stream, outside, 0));
        rig.Fails(CUresult.StreamCaptureInvalidated, rig.Driver.StreamEndCapture(stream, out _));

        rig.Ok(rig.Driver.StreamBeginCapture(stream, CUstreamCaptureMode.Relaxed));
        CUevent inside = rig.Record(stream);
        rig.Fails(CUresult.CapturedEvent, rig.Driver.EventQuery(inside));
        rig.Fails(CUresult.StreamCaptureInvalidated, rig.Driver.StreamEndCapture(stream, out _));

        rig.Ok(rig.Driver.StreamBeginCapture(stream, CUstreamCaptureMode.Relaxed));
        inside = rig.Record(stream);
        rig.Fails(CUresult.StreamCaptureImplicit, rig.Driver.StreamWaitEvent(default, inside, 0));
        rig.Fails(CUresult.StreamCaptureInvalidated, rig.Driver.StreamEndCapture(stream, out _));

        rig.Ok(rig.Driver.StreamBeginCapture(stream, CUstreamCaptureMode.Relaxed));
        inside = rig.Record(stream);
        rig.EndCapture(stream);
        rig.Fails(CUresult.CapturedEvent, rig.Driver.EventSynchronize(inside));
        rig.Fails(CUresult.CapturedEvent, rig.Driver.StreamWaitEvent(other, inside, 0));
        rig.Fails(CUresult.CapturedEvent, rig.Driver.EventElapsedTime(out _, outside, inside));
        rig.Ok(rig.Driver.EventRecord(inside, stream));
        rig.Ok(rig.Driver.EventSynchronize(inside));
    }

    [Fact]
    public void TwoCapturesDoNotBecomeOne()
    {
        using var rig = new DriverRig();
        CUstream first = rig.Stream(), second = rig.Stream();
        rig.Ok(rig.Driver.StreamBeginCapture(first, CUstreamCaptureMode.Relaxed));
        rig.Ok(rig.Driver.StreamBeginCapture(second, CUstreamCaptureMode.Relaxed));
        rig.Fails(CUresult.StreamCaptureMerge, rig.Driver.StreamWaitEvent(second, rig.Record(first), 0));
        rig.Fails(CUresult.StreamCaptureInvalidated, rig.Driver.StreamEndCapture(first, out _));
        rig.Fails(CUresult.StreamCaptureInvalidated, rig.Driver.StreamEndCapture(second, out _));
    }

    [Fact]
    public void AFailingNodeEndsTheContext()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        CUdeviceptr memory = rig.Filled(1, 0);
        CUgraphExec exec = rig.Capture(stream, () => rig.Fill(memory, 1, 1, stream));
        rig.Ok(rig.Driver.MemFree(memory));
        rig.Ok(rig.Driver.GraphLaunch(exec, stream));
        Assert.Contains("UseAfterFree", rig.Fails(CUresult.IllegalAddress, rig.Driver.StreamSynchronize(stream)), StringComparison.Ordinal);
        rig.Fails(CUresult.IllegalAddress, rig.Driver.GraphLaunch(exec, stream));
    }
}
