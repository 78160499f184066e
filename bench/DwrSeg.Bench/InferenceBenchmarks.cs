using BenchmarkDotNet.Attributes;
using DwrSeg.Native;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;

namespace DwrSeg.Bench;

/// <summary>Whole networks, and what an application calls.</summary>
[MemoryDiagnoser]
public class InferenceBenchmarks
{
    private Network? _network;
    private Tensor? _logits;
    private Segmenter? _segmenter;
    private byte[] _pixels = [], _classes = [];

    [ParamsSource(nameof(Networks))]
    public NetworkCase Network { get; set; } = null!;

    public static IEnumerable<NetworkCase> Networks => NetworkCase.All;

    [GlobalSetup(Target = nameof(Plan))]
    public void SetupPlan()
    {
        _network = new Network(Network.Graph());
        _logits = _network.Plan.Graph[DwrSegModel.Logits];
        _classes = new byte[Network.Height * Network.Width];
    }

    /// <summary>From the normalised image in memory to the class map of the input's size.</summary>
    [Benchmark]
    public void Plan()
    {
        _network!.Plan.Run();
        _network.Plan.ReadClasses(_logits!, 0, Network.Height, Network.Width, _classes, default);
    }

    [GlobalSetup(Target = nameof(SegmenterRun))]
    public void SetupSegmenter()
    {
        _segmenter = RandomModel.Load(Network, new SegmenterOptions { Device = "cpu" });
        _classes = new byte[Network.Height * Network.Width];
        _pixels = new byte[3 * _classes.Length];
        new Random(1).NextBytes(_pixels);
    }

    /// <summary>From an RGB image to its class map; allocates nothing.</summary>
    [Benchmark]
    public void SegmenterRun() => _segmenter!.Run(_pixels, Network.Width, Network.Height, 3 * Network.Width, PixelFormat.Rgb, _classes);

    [GlobalCleanup]
    public void Cleanup()
    {
        _network?.Dispose();
        _segmenter?.Dispose();
    }
}
