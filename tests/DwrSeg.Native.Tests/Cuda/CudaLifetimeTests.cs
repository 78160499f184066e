using System.Runtime.CompilerServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class CudaLifetimeTests
{
    private static LiveObjects Nothing => default;

    [Fact]
    public void DisposalInAnyOrderWithWorkUnderWayLeavesNothing()
    {
        for (int seed = 0; seed < 40; seed++)
        {
            using var driver = new EmulatedDriver(80);
            List<IDisposable> everything = MakeEverything(driver);
            IDisposable[] order = [.. everything];
            new Random(seed).Shuffle(order);
            foreach (IDisposable one in order) one.Dispose();
            Assert.Equal(Nothing, driver.Live);
        }
    }

    [Fact]
    public void SecondDisposalDoesNothing()
    {
        using var driver = new EmulatedDriver(80);
        List<IDisposable> everything = MakeEverything(driver);
        for (int i = 0; i < 2; i++) everything.ForEach(one => one.Dispose());
        Assert.Equal(Nothing, driver.Live);
    }

    [Fact]
    public void FinalizersGiveBackWhatWasForgotten()
    {
        using var driver = new EmulatedDriver(80);
        Forget(driver);
        // One round finds the things, the next the context that they kept.
        for (int i = 0; i < 10 && driver.Live != Nothing; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        Assert.Equal(Nothing, driver.Live);
    }

    [Fact]
    public void DisposalAfterTheDriverIsGoneIsHarmless()
    {
        var driver = new EmulatedDriver(80);
        List<IDisposable> everything = MakeEverything(driver);
        driver.Dispose();
        everything.ForEach(one => one.Dispose());
    }

    [Fact]
    public void UseAfterDisposalIsAnError()
    {
        using var driver = new EmulatedDriver(80);
        using var context = new CudaContext(driver);
        using var stream = new CudaStream(context);
        var memory = new CudaDeviceVariable<int>(context, 8);
        CudaDeviceVariable<int> slice = memory.Slice(2, 3);
        memory.Dispose();
        Assert.Throws<ObjectDisposedException>(() => memory.DevicePointer);
        Assert.Throws<ObjectDisposedException>(() => slice.ToArray(stream));
        var other = new CudaStream(context);
        other.Dispose();
        Assert.Throws<ObjectDisposedException>(() => other.Synchronize());
        context.Dispose();
        Assert.Throws<ObjectDisposedException>(() => new CudaStream(context));
    }

    [Fact]
    public void ContextOfOtherCodeIsCurrentAgainAfterEveryCall()
    {
        using var driver = new EmulatedDriver(new EmulatedDriverOptions { Devices = [DeviceModel.Of(80), DeviceModel.Of(90)] });
        using var mine = new CudaContext(driver);
        using var foreign = new CudaContext(driver, 1);
        driver.CtxSetCurrent(foreign.Handle.Context);
        using (var stream = new CudaStream(mine))
        {
            stream.Synchronize();
            using var memory = new CudaDeviceVariable<byte>(mine, 4);
        }
        driver.CtxGetCurrent(out CUcontext current);
        Assert.Equal(foreign.Handle.Context, current);
    }

    [Fact]
    public void ThreadsShareAContext()
    {
        ICudaDriver driver = TestDriver.Open(80);
        using var context = new CudaContext(driver);
        Parallel.For(0, 16, i =>
        {
            using var stream = new CudaStream(context);
            using var memory = new CudaDeviceVariable<int>(context, 100);
            int[] values = [.. Enumerable.Range(i, 100)];
            memory.CopyToDevice(values, stream);
            Assert.Equal(values, memory.ToArray(stream));
        });
        context.Dispose();
        if (driver is not EmulatedDriver emulated) return;
        Assert.Equal(Nothing, emulated.Live);
        emulated.Dispose();
    }

    [Fact]
    public void DisposalDuringACaptureWaitsForItsEnd()
    {
        using var driver = new EmulatedDriver(80);
        using var context = new CudaContext(driver);
        using var other = new CudaContext(driver);
        using var stream = new CudaStream(context);
        using var captured = new CudaDeviceVariable<int>(context, 8);
        var memory = new CudaDeviceVariable<int>(other, 8);
        var host = new CudaHostMemory<int>(other, 8);
        LiveObjects before = driver.Live;
        using CudaGraph graph = stream.Capture(s =>
        {
            captured.MemsetAsync(1, s);
            var thread = new Thread(() =>
            {
                memory.Dispose();
                host.Dispose();
            });
            thread.Start();
            thread.Join();
            Assert.Equal(before, driver.Live);
            captured.MemsetAsync(2, s);
        });
        Assert.Equal(2, graph.NodeCount);
        Assert.Equal((before.Allocations - 1, before.PinnedAllocations - 1), (driver.Live.Allocations, driver.Live.PinnedAllocations));
    }

    [Fact]
    public void FinalizersDuringACaptureNeitherBreakNorAwaitIt()
    {
        using var driver = new EmulatedDriver(80);
        using (var context = new CudaContext(driver))
        using (var stream = new CudaStream(context))
        using (var captured = new CudaDeviceVariable<int>(context, 8))
        {
            Forget(driver);
            using CudaGraph graph = stream.Capture(s =>
            {
                for (int i = 0; i < 4; i++)
                {
                    GC.Collect();
                    GC.WaitForPendingFinalizers();
                }
                captured.MemsetAsync(1, s);
            });
            Assert.Equal(1, graph.NodeCount);
        }
        for (int i = 0; i < 10 && driver.Live != Nothing; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        Assert.Equal(Nothing, driver.Live);
    }

    [Fact]
    public void CapturesAndDisposalsOfManyThreadsDoNotMeet()
    {
        ICudaDriver driver = TestDriver.Open(80);
        Parallel.For(0, 8, new ParallelOptions { MaxDegreeOfParallelism = 8 }, worker =>
        {
            for (int i = 0; i < 25; i++)
            {
                using var context = new CudaContext(driver);
                using var stream = new CudaStream(context);
                using var memory = new CudaDeviceVariable<byte>(context, 16);
                using CudaGraph graph = stream.Capture(s =>
                {
                    memory.MemsetAsync((byte)worker, s);
                    Thread.Yield();
                    memory.Slice(8, 8).MemsetAsync((byte)i, s);
                });
                using CudaGraphExec exec = graph.Instantiate();
                exec.Launch(stream);
                Assert.Equal([.. Enumerable.Repeat((byte)worker, 8), .. Enumerable.Repeat((byte)i, 8)], memory.ToArray(stream));
            }
        });
        if (driver is not EmulatedDriver emulated) return;
        Assert.Equal(Nothing, emulated.Live);
        emulated.Dispose();
    }

    [Fact]
    public void MemoryIsKeptWhileOtherCodeCaptures()
    {
        using var driver = new EmulatedDriver(80);
        using var context = new CudaContext(driver);
        using var stream = new CudaStream(context);
        using var first = new CudaDeviceVariable<int>(context, 8);
        using var second = new CudaDeviceVariable<int>(context, 8);
        int before = driver.Live.Allocations;
        // A capture that the gate knows nothing of: by other code, on the same context.
        using (context.Enter())
        {
            Assert.Equal(CUresult.Success, driver.StreamBeginCapture(stream.Stream, CUstreamCaptureMode.Relaxed));
            first.Dispose();
            Assert.Equal(before, driver.Live.Allocations);
            driver.StreamEndCapture(stream.Stream, out _);
        }
        second.Dispose();
        Assert.Equal(before - 2, driver.Live.Allocations);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Forget(EmulatedDriver driver) => MakeEverything(driver);

    // One of each kind, with copies and fills on the stream that nobody waits for.
    private static List<IDisposable> MakeEverything(EmulatedDriver driver)
    {
        var context = new CudaContext(driver);
        var stream = new CudaStream(context);
        var memory = new CudaDeviceVariable<float>(context, 1000);
        var pooled = new CudaDeviceVariable<float>(stream, 500);
        var host = new CudaHostMemory<float>(context, 1000);
        var start = new CudaEvent(context);
        CudaGraph graph = stream.Capture(s => memory.MemsetAsync(1, s));
        CudaGraphExec exec = graph.Instantiate();
        host.Span.Clear();
        memory.CopyToDeviceAsync(host, stream);
        pooled.MemsetAsync(3, stream);
        exec.Launch(stream);
        start.Record(stream);
        memory.CopyToHostAsync(host, stream);
        return [context, stream, memory, pooled, host, start, graph, exec];
    }
}
