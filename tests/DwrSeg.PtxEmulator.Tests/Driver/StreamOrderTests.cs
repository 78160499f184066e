using DwrSeg.Native.Cuda.Driver;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.PtxEmulator.Tests.Driver;

public unsafe class StreamOrderTests
{
    [Fact]
    public void NothingRunsBeforeSomethingWaitsForIt()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        CUdeviceptr memory = rig.Filled(1, 1);
        rig.Fill(memory, 2, 1, stream);
        Assert.Equal(1u, rig.ReadWord(memory));
        rig.Synchronize(stream);
        Assert.Equal(2u, rig.ReadWord(memory));
    }

    [Fact]
    public void WaitingForOneStreamLeavesAnotherAlone()
    {
        using var rig = new DriverRig();
        CUstream writer = rig.Stream(), reader = rig.Stream();
        CUdeviceptr memory = rig.Filled(1, 1), copy = rig.Filled(1, 0);
        rig.Fill(memory, 2, 1, writer);
        rig.Copy(copy, memory, 1, reader);
        rig.Synchronize(reader);
        rig.Synchronize(writer);
        Assert.Equal(1u, rig.ReadWord(copy));
    }

    [Fact]
    public void AnEventMakesAStreamWait()
    {
        for (int seed = 0; seed < 20; seed++)
        {
            using var rig = new DriverRig(seed: seed, eagerness: 0.5);
            CUstream writer = rig.Stream(), reader = rig.Stream();
            CUdeviceptr memory = rig.Filled(1, 1), copy = rig.Filled(1, 0);
            rig.Fill(memory, 2, 1, writer);
            rig.Wait(reader, rig.Record(writer));
            rig.Copy(copy, memory, 1, reader);
            rig.Synchronize(reader);
            Assert.Equal(2u, rig.ReadWord(copy));
        }
    }

    [Fact]
    public void TheSeedOrdersIndependentStreams()
    {
        uint Last(int seed)
        {
            using var rig = new DriverRig(seed: seed);
            CUdeviceptr memory = rig.Filled(1, 0);
            for (uint i = 1; i <= 4; i++) rig.Fill(memory, i, 1, rig.Stream());
            rig.Synchronize();
            return rig.ReadWord(memory);
        }
        Assert.Equal(Enumerable.Range(0, 30).Select(Last), Enumerable.Range(0, 30).Select(Last));
        Assert.Equal([1u, 2u, 3u, 4u], Enumerable.Range(0, 30).Select(Last).Distinct().Order());
    }

    [Fact]
    public void AnEagerDriverShowsAWriteThatShouldHaveWaitedForAReader()
    {
        uint Copied(double eagerness, int seed)
        {
            using var rig = new DriverRig(seed: seed, eagerness: eagerness);
            CUstream reader = rig.Stream(), writer = rig.Stream();
            CUdeviceptr memory = rig.Filled(1, 1), copy = rig.Filled(1, 0);
            rig.Copy(copy, memory, 1, reader);
            rig.Fill(memory, 2, 1, writer);
            rig.Synchronize(reader);
            return rig.ReadWord(copy);
        }
        Assert.All(Enumerable.Range(0, 20), seed => Assert.Equal(1u, Copied(0, seed)));
        Assert.Contains(2u, Enumerable.Range(0, 20).Select(seed => Copied(0.5, seed)));
    }

    [Fact]
    public void TheDefaultStreamWaitsForBlockingStreamsAndTheyForIt()
    {
        for (int seed = 0; seed < 20; seed++)
        {
            using var rig = new DriverRig(seed: seed);
            CUstream before = rig.Stream(flags: 0), after = rig.Stream(flags: 0);
            CUdeviceptr memory = rig.Filled(1, 1);
            rig.Fill(memory, 2, 1, before);
            rig.Fill(memory, 3, 1, default);
            rig.Fill(memory, 4, 1, after);
            rig.Synchronize();
            Assert.Equal(4u, rig.ReadWord(memory));
        }
    }

    [Fact]
    public void ANonBlockingStreamDoesNotWaitForTheDefaultStream()
    {
        using var rig = new DriverRig();
        CUdeviceptr memory = rig.Filled(1, 1);
        rig.Fill(memory, 2, 1, default);
        Assert.Equal(1u, rig.ReadWord(memory));
        rig.Synchronize(default(CUstream));
        Assert.Equal(2u, rig.ReadWord(memory));
    }

    [Fact]
    public void WaitingForTheDefaultStreamWaitsForTheStreamsItBlocks()
    {
        using var rig = new DriverRig();
        CUdeviceptr memory = rig.Filled(1, 1);
        rig.Fill(memory, 2, 1, rig.Stream(flags: 0));
        rig.Synchronize(default(CUstream));
        Assert.Equal(2u, rig.ReadWord(memory));
    }

    [Fact]
    public void ADestroyedStreamsWorkStillRuns()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        CUdeviceptr memory = rig.Filled(1, 1);
        rig.Fill(memory, 2, 1, stream);
        rig.Ok(rig.Driver.StreamDestroy(stream));
        rig.Fails(CUresult.InvalidHandle, rig.Driver.StreamSynchronize(stream));
        Assert.Equal(1u, rig.ReadWord(memory));
        rig.Synchronize();
        Assert.Equal(2u, rig.ReadWord(memory));
    }

    [Fact]
    public void AskingAgainAndAgainGetsThere()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        Assert.Equal(CUresult.Success, rig.Driver.StreamQuery(stream));
        CUdeviceptr memory = rig.Filled(1, 0);
        for (uint i = 1; i <= 100; i++) rig.Fill(memory, i, 1, stream);
        CUevent @event = rig.Record(stream);
        Assert.Equal(CUresult.NotReady, rig.Driver.EventQuery(@event));
        int questions = 1;
        while (rig.Driver.StreamQuery(stream) == CUresult.NotReady) questions++;
        Assert.InRange(questions, 2, 101);
        Assert.Equal(CUresult.Success, rig.Driver.EventQuery(@event));
        Assert.Equal(100u, rig.ReadWord(memory));
    }

    [Fact]
    public void AnEventThatWasNeverRecordedIsNoObstacle()
    {
        using var rig = new DriverRig();
        CUevent @event = rig.Event();
        CUstream stream = rig.Stream();
        rig.Wait(stream, @event);
        Assert.Equal(CUresult.Success, rig.Driver.EventQuery(@event));
        rig.Ok(rig.Driver.EventSynchronize(@event));
        rig.Synchronize(stream);
    }

    [Fact]
    public void AnEventMeansItsLastRecord_AndAWaitTheRecordBeforeIt()
    {
        using var rig = new DriverRig();
        CUstream writer = rig.Stream(), reader = rig.Stream();
        CUdeviceptr memory = rig.Filled(1, 1), copy = rig.Filled(1, 0);
        CUevent @event = rig.Event();
        rig.Fill(memory, 2, 1, writer);
        rig.Ok(rig.Driver.EventRecord(@event, writer));
        rig.Wait(reader, @event);
        rig.Fill(memory, 3, 1, writer);
        rig.Ok(rig.Driver.EventRecord(@event, writer));
        rig.Copy(copy, memory, 1, reader);
        rig.Ok(rig.Driver.EventDestroy(@event));
        rig.Synchronize(reader);
        Assert.Equal(2u, rig.ReadWord(copy));
    }

    [Fact]
    public void ThreadsWithStreamsOfTheirOwnDoNotDisturbEachOther()
    {
        using var rig = new DriverRig(eagerness: 0.3);
        var failures = new List<string>();
        Thread[] threads = [.. Enumerable.Range(1, 4).Select(number => new Thread(() =>
        {
            try
            {
                rig.Ok(rig.Driver.CtxSetCurrent(rig.Context));
                CUstream stream = rig.Stream();
                CUdeviceptr memory = rig.Alloc(4), copy = rig.Alloc(4);
                for (uint i = 1; i <= 200; i++)
                {
                    rig.Fill(memory, (uint)number * i, 1, stream);
                    rig.Copy(copy, memory, 1, stream);
                    rig.Synchronize(stream);
                    Assert.Equal((uint)number * i, rig.ReadWord(copy));
                }
            }
            catch (Exception failure)
            {
                lock (failures) failures.Add(failure.Message);
            }
        }))];
        foreach (Thread thread in threads) thread.Start();
        foreach (Thread thread in threads) thread.Join();
        Assert.Empty(failures);
    }

    [Fact]
    public void ElapsedTimeIsThatOfTheWorkBetween()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        CUdeviceptr memory = rig.Alloc(16 << 20);
        CUevent start = rig.Record(stream);
        rig.Fill(memory, 1, 4 << 20, stream);
        CUevent end = rig.Record(stream);
        CUevent later = rig.Record(stream);
        rig.Fails(CUresult.NotReady, rig.Driver.EventElapsedTime(out _, start, end));
        rig.Synchronize(stream);
        rig.Ok(rig.Driver.EventElapsedTime(out float whole, start, end));
        rig.Ok(rig.Driver.EventElapsedTime(out float backwards, end, start));
        rig.Ok(rig.Driver.EventElapsedTime(out float nothing, end, later));
        Assert.True(whole > 0);
        Assert.Equal(-whole, backwards);
        Assert.True(nothing >= 0);
        rig.Fails(CUresult.InvalidHandle, rig.Driver.EventElapsedTime(out _, start, rig.Event()));
        CUevent untimed = rig.Event(flags: 2);
        rig.Ok(rig.Driver.EventRecord(untimed, stream));
        rig.Fails(CUresult.InvalidHandle, rig.Driver.EventElapsedTime(out _, start, untimed));
    }

    [Fact]
    public void PlantedClockTellsWhatWasPlanted()
    {
        using var rig = new DriverRig(new EmulatedDriverOptions { LaunchMilliseconds = _ => 1, Threads = 1 });
        using var ordinary = new DriverRig();
        Assert.Equal((true, false), (rig.Driver.HasClock, ordinary.Driver.HasClock));
        rig.Ok(rig.Driver.CtxSetCurrent(rig.Context));
        CUstream stream = rig.Stream();
        CUdeviceptr memory = rig.Alloc(4 << 20);
        CUevent start = rig.Record(stream);
        rig.Fill(memory, 1, 1 << 20, stream);
        CUevent filled = rig.Record(stream);
        rig.Ok(rig.Emulated.Submit(stream, "a library's call", 2.5, _ => { }));
        CUevent end = rig.Record(stream);
        rig.Synchronize(stream);
        rig.Ok(rig.Driver.EventElapsedTime(out float fill, start, filled));
        rig.Ok(rig.Driver.EventElapsedTime(out float call, filled, end));
        Assert.Equal((0f, 2.5f), (fill, MathF.Round(call, 4)));
    }

    [Fact]
    public void HostCodeRunsInItsTurnAndInEachLaunchOfAGraph()
    {
        using var rig = new DriverRig();
        CUstream stream = rig.Stream();
        CUdeviceptr memory = rig.Filled(1, 1);
        int runs = 0;
        // Adds one to what is there when its turn comes.
        void Increment() => rig.Ok(rig.Emulated.Submit(stream, "increment", 0, m =>
        {
            var word = new uint[1];
            m.CopyOut<uint>(word, memory.Value);
            m.CopyIn<uint>(memory.Value, [word[0] + 1]);
            runs++;
        }));
        rig.Fill(memory, 5, 1, stream);
        Increment();
        Assert.Equal(0, runs);
        rig.Synchronize(stream);
        Assert.Equal(6u, rig.ReadWord(memory));
        CUgraphExec graph = rig.Capture(stream, Increment);
        Assert.Equal(1, runs);
        for (int i = 0; i < 3; i++) rig.Ok(rig.Driver.GraphLaunch(graph, stream));
        rig.Synchronize(stream);
        Assert.Equal(9u, rig.ReadWord(memory));
        rig.Ok(rig.Emulated.Submit(stream, "misses", 0, m => m.CopyIn<uint>(memory.Value + 4, [1])));
        rig.Fails(CUresult.IllegalAddress, rig.Driver.StreamSynchronize(stream));
    }
}
