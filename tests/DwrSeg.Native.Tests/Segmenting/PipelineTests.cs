using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Tests.Cuda;
using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Segmenting;

/// <summary>Frames in, the same class maps out as one run after the other gives, in order, whatever happens on the way.</summary>
[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class PipelineTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string _model;

    public PipelineTests() => _model = SmallModel.Save(_folder.File("model.safetensors"), inputSize: (32, 48));

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string> Devices => ["cpu", "cuda"];

    [Theory]
    [InlineData("cpu", 0, 0.0)]
    [InlineData("cuda", 1, 0.0)]
    [InlineData("cuda", 2, 0.5)]
    [InlineData("cuda", 3, 0.9)]
    public async Task FramesComeOutInOrderWithWhatRunsGive(string device, int seed, double eagerness)
    {
        using Segmenter segmenter = Load(device, seed, eagerness, new SegmenterOptions { SizePolicy = SizePolicy.Native, Threads = 1 });
        IReadOnlyList<Frame> frames = FrameSource.Frames(8);
        (byte[] Classes, byte[] Confidence)[] expected = [.. frames.Select(f => FrameSource.Expected(segmenter, f))];
        int number = 0;
        await foreach (Frame frame in segmenter.RunAsync(FrameSource.Source(frames), framesInFlight: 3))
        {
            Assert.Equal(frames[number].Classes, frame.Classes);
            Assert.Equal(expected[number].Classes, frame.Classes.ToArray());
            Assert.Equal(expected[number].Confidence, frame.Confidence.ToArray());
            number++;
        }
        Assert.Equal(frames.Count, number);
    }

    [Theory]
    [InlineData("cpu", 2)]
    [InlineData("cpu", 4)]
    [InlineData("cuda", 2)]
    [InlineData("cuda", 3)]
    public async Task ARingOfAsManyBuffersAsFramesInFlightIsEnough(string device, int inFlight)
    {
        using Segmenter segmenter = Load(device);
        Frame[] ring = [.. Enumerable.Range(0, inFlight).Select(i => FrameSource.Frame(i, 48, 32))];
        (byte[] Classes, byte[] _)[] expected = [.. ring.Select(f => FrameSource.Expected(segmenter, f))];
        int taken = 0, returned = 0, most = 0;
        await foreach (Frame frame in segmenter.RunAsync(
            FrameSource.Source(Enumerable.Range(0, 3 * inFlight).Select(i => ring[i % inFlight]), _ => taken++), inFlight))
        {
            most = Math.Max(most, taken - returned);
            Assert.Equal(expected[returned % inFlight].Classes, frame.Classes.ToArray());
            frame.Classes.Span.Fill(0xEE);
            returned++;
        }
        Assert.Equal(3 * inFlight, returned);
        Assert.InRange(most, 1, inFlight);
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public async Task ABadFrameFailsInItsPlaceAndTheSegmenterGoesOn(string device)
    {
        using Segmenter segmenter = Load(device);
        IReadOnlyList<Frame> frames = FrameSource.Frames(8);
        List<Frame> damaged = [.. frames];
        damaged[5] = frames[5] with { Pixels = frames[5].Pixels[..^1] };
        int delivered = 0;
        var error = await Assert.ThrowsAsync<ArgumentException>(async () =>
        {
            await foreach (Frame _ in segmenter.RunAsync(FrameSource.Source(damaged))) delivered++;
        });
        Assert.Equal(5, delivered);
        Assert.StartsWith("pixels has ", error.Message, StringComparison.Ordinal);
        await AssertWorks(segmenter, frames);
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public async Task TheSourcesOwnErrorComesAfterTheFramesBeforeIt(string device)
    {
        using Segmenter segmenter = Load(device);
        IReadOnlyList<Frame> frames = FrameSource.Frames(6);
        int delivered = 0;
        var error = await Assert.ThrowsAsync<IOException>(async () =>
        {
            await foreach (Frame _ in segmenter.RunAsync(FrameSource.Source(frames, n =>
            {
                if (n == 4) throw new IOException("the camera is gone");
            }))) delivered++;
        });
        Assert.Equal((4, "the camera is gone"), (delivered, error.Message));
        await AssertWorks(segmenter, frames);
    }

    [Theory]
    [InlineData("MemcpyHtoDAsync")]
    [InlineData("GraphLaunch")]
    [InlineData("LaunchKernelEx")]
    [InlineData("MemcpyDtoHAsync")]
    [InlineData("StreamWaitEvent")]
    [InlineData("EventRecord")]
    public async Task AFailedCallFailsOneFrameAndTheSegmenterGoesOn(string call)
    {
        using var emulator = new EmulatedDriver(80);
        var faulty = FaultInjectingDriver.Wrap(emulator);
        using Segmenter segmenter = EmulatedSegmenter.Load(_model, faulty.Driver);
        IReadOnlyList<Frame> frames = FrameSource.Frames(6);
        await AssertWorks(segmenter, frames);
        LiveObjects before = emulator.Live;
        int delivered = 0;
        var error = await Assert.ThrowsAsync<CudaException>(async () =>
        {
            await foreach (Frame _ in segmenter.RunAsync(FrameSource.Source(frames, n =>
            {
                if (n == 3) faulty.FailEvery(call, CUresult.Unknown);
            }))) delivered++;
        });
        Assert.Equal(3, delivered);
        Assert.StartsWith($"cu{call}", error.Message, StringComparison.Ordinal);
        faulty.Reset();
        Assert.Equal(before, emulator.Live);
        await AssertWorks(segmenter, frames);
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public async Task CancellingEndsTheEnumerationAndTheSource(string device)
    {
        using Segmenter segmenter = Load(device);
        IReadOnlyList<Frame> frames = FrameSource.Frames(4);
        using var cancellation = new CancellationTokenSource();
        bool isSourceEnded = false;
        int delivered = 0;
        OperationCanceledException cancelled = await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (Frame _ in segmenter.RunAsync(Endless(), cancellation: cancellation.Token))
            {
                if (++delivered == 5) await cancellation.CancelAsync();
            }
        });
        Assert.Equal((5, true), (delivered, isSourceEnded));
        Assert.Equal(cancellation.Token, cancelled.CancellationToken);
        await AssertWorks(segmenter, frames);

        async IAsyncEnumerable<Frame> Endless()
        {
            try
            {
                for (int i = 0; ; i++)
                {
                    await Task.Yield();
                    yield return frames[i % frames.Count] with { Classes = new byte[frames[i % frames.Count].Classes.Length] };
                }
            }
            finally
            {
                isSourceEnded = true;
            }
        }
    }

    [Fact]
    public async Task CancellingWakesASourceThatWaits()
    {
        using Segmenter segmenter = Load("cpu");
        using var cancellation = new CancellationTokenSource();
        OperationCanceledException cancelled = await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (Frame _ in segmenter.RunAsync(OneAndThenNone(), cancellation: cancellation.Token)) await cancellation.CancelAsync();
        });
        Assert.Equal(cancellation.Token, cancelled.CancellationToken);

        static async IAsyncEnumerable<Frame> OneAndThenNone([System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken stopped = default)
        {
            yield return FrameSource.Frame(0);
            await Task.Delay(Timeout.Infinite, stopped);
        }
    }

    [Fact]
    public async Task LeavingTheLoopGivesBackWhatThePipelineHeld()
    {
        using var emulator = new EmulatedDriver(80);
        using Segmenter segmenter = EmulatedSegmenter.Load(_model, emulator);
        IReadOnlyList<Frame> frames = FrameSource.Frames(8);
        await AssertWorks(segmenter, frames);
        LiveObjects before = emulator.Live;
        await foreach (Frame frame in segmenter.RunAsync(FrameSource.Source(frames)))
        {
            if (frame.Classes.Equals(frames[2].Classes)) break;
        }
        Assert.Equal(before, emulator.Live);
        await AssertWorks(segmenter, frames);
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public async Task DisposingTheSegmenterEndsTheEnumeration(string device)
    {
        Segmenter segmenter = Load(device);
        await Assert.ThrowsAsync<ObjectDisposedException>(async () =>
        {
            await foreach (Frame _ in segmenter.RunAsync(FrameSource.Source(FrameSource.Frames(40)))) segmenter.Dispose();
        });
        Assert.Throws<ObjectDisposedException>(() => segmenter.RunAsync(FrameSource.Source([])));
    }

    [Fact]
    public async Task RunsAndPipelinesOfOneSegmenterMayMix()
    {
        using Segmenter segmenter = Load("cuda", seed: 4, eagerness: 0.5);
        Task[] work = [.. Enumerable.Range(0, 2).Select(_ => Task.Run(() => AssertWorks(segmenter, FrameSource.Frames(6)))),
            Task.Run(() =>
            {
                foreach (Frame frame in FrameSource.Frames(6))
                    Assert.Equal(FrameSource.Expected(segmenter, frame).Classes, FrameSource.Expected(segmenter, frame).Classes);
            })];
        await Task.WhenAll(work);
    }

    [Fact]
    public void WrongArgumentsAreNamedAtTheCall()
    {
        using Segmenter segmenter = Load("cpu");
        Assert.Equal("frames", Assert.Throws<ArgumentNullException>(() => segmenter.RunAsync(null!)).ParamName);
        foreach (int count in (int[])[-1, 0, 1, Segmenter.MaxFramesInFlight + 1])
            Assert.Equal("framesInFlight", Assert.Throws<ArgumentOutOfRangeException>(() => segmenter.RunAsync(FrameSource.Source([]), count)).ParamName);
    }

    [Fact]
    public async Task NoFrameIsNoError()
    {
        using Segmenter segmenter = Load("cpu");
        await foreach (Frame _ in segmenter.RunAsync(FrameSource.Source([]))) Assert.Fail("a frame from nowhere");
    }

    private static async Task AssertWorks(Segmenter segmenter, IReadOnlyList<Frame> frames)
    {
        const int Count = 3;
        int number = 0;
        await foreach (Frame frame in segmenter.RunAsync(FrameSource.Source(frames.Take(Count))))
        {
            Assert.Equal(FrameSource.Expected(segmenter, frames[number]).Classes, frame.Classes.ToArray());
            number++;
        }
        Assert.Equal(Count, number);
    }

    private Segmenter Load(string device, int seed = 1, double eagerness = 0, SegmenterOptions? options = null) => device == "cpu"
        ? Segmenter.Load(_model, (options ?? new SegmenterOptions { Threads = 1 }) with { Device = "cpu" })
        : EmulatedSegmenter.Load(_model, TestDriver.Open(80, seed, eagerness), options: options);
}
