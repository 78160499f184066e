using BenchmarkDotNet.Attributes;
using DwrSeg.Native;

namespace DwrSeg.Bench;

/// <summary>What an application calls, on a CUDA device: from an RGB image to its class map, one by one and overlapped.</summary>
[NeedsCuda]
[MemoryDiagnoser]
public class CudaSegmenterBenchmarks
{
    private const int FramesInFlight = 4, Frames = 32;

    private readonly Frame[] _frames = new Frame[FramesInFlight];
    private Segmenter? _segmenter;

    [ParamsSource(nameof(Networks))]
    public NetworkCase Network { get; set; } = null!;

    [ParamsAllValues]
    public Precision Precision { get; set; }

    public static IEnumerable<NetworkCase> Networks => NetworkCase.ForCuda;

    [GlobalSetup]
    public void Setup()
    {
        _segmenter = RandomModel.Load(Network, new SegmenterOptions { Device = CudaBench.Device, Precision = Precision });
        var random = new Random(1);
        for (int i = 0; i < FramesInFlight; i++)
        {
            byte[] pixels = new byte[3 * Network.Height * Network.Width];
            random.NextBytes(pixels);
            _frames[i] = new Frame { Pixels = pixels, Width = Network.Width, Height = Network.Height, Classes = new byte[Network.Height * Network.Width] };
        }
    }

    /// <summary>One image after the other: upload, network, class map, download.</summary>
    [Benchmark]
    public void Run()
    {
        Frame frame = _frames[0];
        _segmenter!.Run(frame.Pixels.Span, frame.Width, frame.Height, 3 * frame.Width, frame.Format, frame.Classes.Span);
    }

    /// <summary>The same work with copies and computation of neighbouring frames overlapped; per frame.</summary>
    [Benchmark(OperationsPerInvoke = Frames)]
    public async Task RunAsync()
    {
        await foreach (Frame _ in _segmenter!.RunAsync(Source(), FramesInFlight).ConfigureAwait(false))
        {
        }
    }

    [GlobalCleanup]
    public void Cleanup() => _segmenter!.Dispose();

#pragma warning disable CS1998 // The frames are there.
    private async IAsyncEnumerable<Frame> Source()
    {
        for (int i = 0; i < Frames; i++) yield return _frames[i % FramesInFlight];
    }
#pragma warning restore CS1998
}
