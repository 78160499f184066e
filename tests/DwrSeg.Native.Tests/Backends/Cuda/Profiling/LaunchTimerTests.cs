using DwrSeg.Native.Backends.Cuda.Profiling;
using DwrSeg.Native.Cuda;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Backends.Cuda.Profiling;

/// <summary>What the timer makes of the times between its events, which are planted here: an emulated device has none of its own.</summary>
public sealed class LaunchTimerTests : IDisposable
{
    private readonly EmulatedDriver _driver = new(90);
    private readonly CudaContext _context;
    private readonly CudaStream _stream;
    private readonly CudaDeviceVariable<byte> _memory;
    private readonly Queue<float> _milliseconds = [];

    public LaunchTimerTests()
    {
        _context = new CudaContext(_driver);
        _stream = new CudaStream(_context);
        _memory = new CudaDeviceVariable<byte>(_context, 16);
    }

    public void Dispose()
    {
        _memory.Dispose();
        _stream.Dispose();
        _context.Dispose();
        _driver.Dispose();
    }

    [Fact]
    public void TheMedianBatchIsDividedByItsReplays()
    {
        using LaunchTimer timer = Timer(new LaunchTimerOptions { Batches = 5, BatchSeconds = 1e-3, LeastReplays = 4, MostReplays = 100 });
        int captured = 0;
        // Two batches of four say 20 µs each, so a batch of 1 ms has 50; the first of these is not counted.
        Plant(0.3, 0.08, 9, 1.0, 1.4, 0.9, 7, 1.1);
        double seconds = timer.Measure(stream =>
        {
            captured++;
            _memory.MemsetAsync(1, stream);
        });
        Assert.Equal(1.1e-3 / 50, seconds, 9);
        Assert.Equal(4 + 50, captured);
        Assert.Empty(_milliseconds);
    }

    [Theory]
    [InlineData(1000, 3)]   // seconds long: the fewest replays
    [InlineData(0, 20)]     // too short for the events to see: the most
    public void ReplaysStayWithinTheirBounds(double estimate, int replays)
    {
        using LaunchTimer timer = Timer(new LaunchTimerOptions { Batches = 1, LeastReplays = 3, MostReplays = 20 });
        Plant(estimate, estimate, 1, 6);
        Assert.Equal(6e-3 / replays, timer.Measure(stream => _memory.MemsetAsync(1, stream)), 9);
    }

    [Fact]
    public void ACopyMovesItsBytesTwice()
    {
        using LaunchTimer timer = Timer(new LaunchTimerOptions { Batches = 2, BatchSeconds = 1e-3, LeastReplays = 1, MostReplays = 10, CopyBytes = 4096 });
        // One copy seems to take 0.5 ms, so a batch has two; the median of two batches is their mean.
        Plant(0.5, 2, 4);
        Assert.Equal(2 * 4096 / 1.5e-3, timer.MeasureCopy(), 3);
    }

    [Fact]
    public void NothingIsLeftBehind()
    {
        LiveObjects before = _driver.Live;
        using (LaunchTimer timer = Timer(new LaunchTimerOptions { Batches = 1, LeastReplays = 1, MostReplays = 1, CopyBytes = 64 }))
        {
            Plant(1, 1, 1, 1, 1, 1, 1);
            timer.Measure(stream => _memory.MemsetAsync(1, stream));
            timer.MeasureCopy();
        }
        Assert.Equal(before, _driver.Live);
    }

    private LaunchTimer Timer(LaunchTimerOptions options) => new(_stream, options) { Elapsed = (_, _) => _milliseconds.Dequeue() };

    private void Plant(params ReadOnlySpan<double> milliseconds)
    {
        foreach (double time in milliseconds) _milliseconds.Enqueue((float)time);
    }
}
