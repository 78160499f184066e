using DwrSeg.Native.Cuda;

namespace DwrSeg.Cli;

/// <summary>A stopwatch on a stream: two events that the device itself notes the time of.</summary>
internal sealed class CudaTimer(CudaStream stream) : IDisposable
{
    private readonly CudaEvent _start = new(stream.Context), _end = new(stream.Context);

    /// <summary>From start to stop; waits until the device has come there.</summary>
    public double Seconds
    {
        get
        {
            _end.Synchronize();
            return CudaEvent.ElapsedMilliseconds(_start, _end) / 1000;
        }
    }

    public void Start() => _start.Record(stream);

    public void Stop() => _end.Record(stream);

    public void Dispose()
    {
        _start.Dispose();
        _end.Dispose();
    }
}
