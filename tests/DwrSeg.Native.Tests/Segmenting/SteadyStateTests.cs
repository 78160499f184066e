using DwrSeg.Native.Tests.Formats;
using DwrSeg.Native.Tests.Models;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Segmenting;

/// <summary>Frame after frame of a known size: no memory is allocated, neither on the device nor on the managed heap.</summary>
[Collection(nameof(RunsAlone))]
public sealed class SteadyStateTests : IDisposable
{
    private const int Width = 48, Height = 32;

    // What a frame needs and no more: nothing here makes anything.
    private static readonly HashSet<string> Frugal =
    [
        "CtxGetCurrent", "CtxSetCurrent", "MemcpyHtoDAsync", "MemcpyDtoHAsync", "LaunchKernelEx", "GraphLaunch", "EventRecord", "StreamWaitEvent",
        "EventSynchronize",
    ];

    private readonly TemporaryFolder _folder = new();
    private readonly EmulatedDriver _emulator = new(80);
    private readonly FaultInjectingDriver _driver;
    private readonly Segmenter _segmenter;
    private readonly Frame _frame = FrameSource.Frame(0, Width, Height);

    public SteadyStateTests()
    {
        _driver = FaultInjectingDriver.Wrap(_emulator);
        _segmenter = EmulatedSegmenter.Load(SmallModel.Save(_folder.File("model.safetensors"), inputSize: (Height, Width)), _driver.Driver);
    }

    public void Dispose()
    {
        _driver.Swallows = false;
        _segmenter.Dispose();
        _emulator.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void ARunMakesNothingOnTheDevice()
    {
        Run();
        LiveObjects live = _emulator.Live;
        _driver.Reset();
        for (int i = 0; i < 3; i++) Run();
        Assert.Equal(live, _emulator.Live);
        Assert.Subset(Frugal, _driver.Calls.ToHashSet());
        Assert.Equal(3, _driver.Calls.Count(c => c == "GraphLaunch"));
    }

    [Fact]
    public async Task AFrameOfAPipelineMakesNothingOnTheDevice()
    {
        int number = 0;
        LiveObjects live = default;
        await foreach (Frame _ in _segmenter.RunAsync(Endless(10)))
        {
            // By now each of the four places has had a frame.
            if (++number == 5)
            {
                live = _emulator.Live;
                _driver.Reset();
            }
            if (number < 10) continue;
            Assert.Equal(live, _emulator.Live);
            Assert.Subset(Frugal, _driver.Calls.ToHashSet());
        }
        Assert.Equal(10, number);
    }

    [Fact]
    public void ARunAllocatesNothingOnTheManagedHeap()
    {
        Run();
        // The emulated driver allocates; what is looked at is the library's part.
        _driver.Swallows = true;
        Run();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 100; i++) Run();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public Task AFrameOfAPipelineAllocatesNothingOnTheManagedHeap() => AssertFramesAllocateNothing(_segmenter, () => _driver.Swallows = true);

    [Fact]
    public async Task AFrameOfAPipelineAllocatesNothingOnTheProcessorEither()
    {
        using Segmenter segmenter = Segmenter.Load(_folder.File("model.safetensors"), new SegmenterOptions { Device = "cpu", Threads = 1 });
        await AssertFramesAllocateNothing(segmenter, () => { });
    }

    // The counter is the process's. Other threads, such as the test runner's, may add to it now and then, but not in every round.
    private async Task AssertFramesAllocateNothing(Segmenter segmenter, Action warm)
    {
        const int Round = 100, Rounds = 30;
        int number = 0;
        long least = long.MaxValue, before = 0;
        await foreach (Frame _ in segmenter.RunAsync(Endless(Round * Rounds)))
        {
            if (++number == 8) warm();
            if (number % Round != 0) continue;
            long now = GC.GetTotalAllocatedBytes(precise: true);
            if (number >= 4 * Round) least = Math.Min(least, now - before);
            before = GC.GetTotalAllocatedBytes(precise: true);
            if (least == 0) break;
        }
        Assert.Equal(0, least);
    }

    private async IAsyncEnumerable<Frame> Endless(int count)
    {
        for (int i = 0; i < count; i++)
        {
            // Others run first, as with a camera.
            await Task.Yield();
            yield return _frame;
        }
    }

    private void Run() => _segmenter.Run(
        _frame.Pixels.Span, Width, Height, Width * 3, PixelFormat.Rgb, _frame.Classes.Span, _frame.Confidence.Span);
}
