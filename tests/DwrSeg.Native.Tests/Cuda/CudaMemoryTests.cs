using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda;

[Trait(TestDriver.Trait, TestDriver.Cuda)]
public sealed class CudaMemoryTests : IDisposable
{
    private readonly ICudaDriver _driver = TestDriver.Open(80);
    private readonly CudaContext _context;
    private readonly CudaStream _stream;

    public CudaMemoryTests()
    {
        _context = new CudaContext(_driver);
        _stream = new CudaStream(_context);
    }

    public void Dispose()
    {
        _stream.Dispose();
        _context.Dispose();
        (_driver as IDisposable)?.Dispose();
    }

    [Fact]
    public void SliceReadsAndWritesItsPart()
    {
        using var whole = new CudaDeviceVariable<short>(_context, 10);
        whole.CopyToDevice([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], _stream);
        CudaDeviceVariable<short> slice = whole.Slice(3, 4);
        Assert.Equal([3, 4, 5, 6], slice.ToArray(_stream));
        slice.CopyToDevice([-1, -2, -3, -4], _stream);
        slice.Slice(1, 2).MemsetAsync(0, _stream);
        Assert.Equal([0, 1, 2, -1, 0, 0, -4, 7, 8, 9], whole.ToArray(_stream));
        Assert.Throws<ArgumentOutOfRangeException>(() => whole.Slice(3, 8));
        Assert.Throws<ArgumentOutOfRangeException>(() => whole.Slice(-1, 2));
    }

    [Fact]
    public void ForeignMemoryIsUsedInPlaceAndLeftAlone()
    {
        Assert.Equal(CUresult.Success, EnterAndAllocate(out CUdeviceptr foreign));
        using (var wrapped = new CudaDeviceVariable<int>(_context, foreign, 4))
        {
            wrapped.CopyToDevice([1, 2, 3, 4], _stream);
            using var copy = new CudaDeviceVariable<int>(_context, 4);
            copy.CopyFromDeviceAsync(foreign, _stream);
            Assert.Equal([1, 2, 3, 4], copy.ToArray(_stream));
        }
        Assert.Equal(CUresult.Success, _driver.MemFree(foreign));
    }

    [Fact]
    public void PinnedMemoryGoesThereAndBack()
    {
        using var host = new CudaHostMemory<double>(_context, 5);
        using var device = new CudaDeviceVariable<double>(_stream, 5);
        for (int i = 0; i < 5; i++) host.Span[i] = i * 1.5;
        device.CopyToDeviceAsync(host, _stream);
        _stream.Synchronize();
        host.Span.Fill(double.NaN);
        device.CopyToHostAsync(host, _stream);
        _stream.Synchronize();
        Assert.Equal([0, 1.5, 3, 4.5, 6], host.Span.ToArray());
    }

    [Fact]
    public void CopyOfAnotherSizeIsRefused()
    {
        using var device = new CudaDeviceVariable<int>(_context, 4);
        Assert.Contains("3 elements on the host, 4 on the device", Assert.Throws<ArgumentException>(() => device.CopyToDevice([1, 2, 3], _stream)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => device.CopyToHost(new int[5], _stream));
    }

    [Fact]
    public void PoolMemoryIsFreedInTheStreamsOrder()
    {
        new CudaMemoryPool(_context).Keep(1 << 20);
        int? before = (_driver as EmulatedDriver)?.Live.Allocations;
        var pooled = new CudaDeviceVariable<int>(_stream, 100);
        pooled.MemsetAsync(7, _stream);
        pooled.FreeAsync(_stream);
        _stream.Synchronize();
        Assert.Equal(before, (_driver as EmulatedDriver)?.Live.Allocations);
        Assert.Throws<ObjectDisposedException>(() => pooled.DevicePointer);
        pooled.Dispose();
        Assert.Throws<InvalidOperationException>(() => new CudaDeviceVariable<int>(_context, default, 1).FreeAsync(_stream));
    }

    [Fact]
    public void GraphRepeatsWhatWasCapturedAndTakesNewAddresses()
    {
        using var a = new CudaDeviceVariable<int>(_context, 3);
        using var b = new CudaDeviceVariable<int>(_context, 3);
        a.CopyToDevice([9, 9, 9], _stream);
        b.CopyToDevice([9, 9, 9], _stream);
        using CudaGraph first = _stream.Capture(s => a.MemsetAsync(1, s)), second = _stream.Capture(s => b.MemsetAsync(2, s));
        Assert.Equal(1, first.NodeCount);
        Assert.Equal([9, 9, 9], a.ToArray(_stream));
        using CudaGraphExec exec = first.Instantiate();
        exec.Launch(_stream);
        Assert.Equal([0x01010101, 0x01010101, 0x01010101], a.ToArray(_stream));
        Assert.True(exec.TryUpdate(second));
        exec.Launch(_stream);
        Assert.Equal([0x02020202, 0x02020202, 0x02020202], b.ToArray(_stream));
        using CudaGraph longer = _stream.Capture(s =>
        {
            a.MemsetAsync(3, s);
            b.MemsetAsync(3, s);
        });
        Assert.False(exec.TryUpdate(longer));
    }

    [Fact]
    public void FailureInACaptureEndsIt()
    {
        Assert.Throws<InvalidTimeZoneException>(() => _stream.Capture(_ => throw new InvalidTimeZoneException()));
        Assert.Throws<CudaException>(() => _stream.Capture(s => s.Synchronize()));
        using var memory = new CudaDeviceVariable<int>(_context, 1);
        memory.CopyToDevice([5], _stream);
        Assert.Equal([5], memory.ToArray(_stream));
        if (_driver is EmulatedDriver emulated) Assert.Equal(0, emulated.Live.Graphs);
    }

    [Fact]
    public void StreamWaitsForAnEventOfAnother()
    {
        using var other = new CudaStream(_context);
        using var done = new CudaEvent(_context);
        using var memory = new CudaDeviceVariable<int>(_context, 1000);
        memory.MemsetAsync(4, _stream);
        done.Record(_stream);
        other.WaitFor(done);
        Assert.All(memory.ToArray(other), v => Assert.Equal(0x04040404, v));
        Assert.True(done.IsReached);
        Assert.True(_stream.IsIdle);
    }

    private CUresult EnterAndAllocate(out CUdeviceptr address)
    {
        using ContextScope scope = _context.Enter();
        return _driver.MemAlloc(out address, 16);
    }
}
