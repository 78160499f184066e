using BenchmarkDotNet.Attributes;
using DwrSeg.Native;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;

namespace DwrSeg.Bench;

/// <summary>What lies between an image and the network: a 960x720 RGB frame in and out at a network input of 512x1024.</summary>
public class ImageBenchmarks
{
    private const int Width = 960, Height = 720;

    private readonly byte[] _pixels = new byte[3 * Width * Height], _classes = new byte[Width * Height], _confidence = new byte[Width * Height];
    private Network? _network;
    private Tensor? _image, _logits;

    [GlobalSetup]
    public void Setup()
    {
        new Random(1).NextBytes(_pixels);
        _network = new Network(Network.Inference(DwrSegConfig.Base(), 512, 1024));
        _network.Plan.Run();
        (_image, _logits) = (_network.Plan.Graph[DwrSegModel.Image], _network.Plan.Graph[DwrSegModel.Logits]);
    }

    /// <summary>Resize and normalise.</summary>
    [Benchmark]
    public void Preprocess() =>
        _network!.Plan.WriteImage(_image!, 0, new ImageView(_pixels, Width, Height, 3 * Width, PixelFormat.Rgb), Normalization.ImageNet);

    /// <summary>Upsample the logits and take the arg max.</summary>
    [Benchmark]
    public void ClassMap() => _network!.Plan.ReadClasses(_logits!, 0, Height, Width, _classes, default);

    [Benchmark]
    public void ClassMapWithConfidence() => _network!.Plan.ReadClasses(_logits!, 0, Height, Width, _classes, _confidence);

    [GlobalCleanup]
    public void Cleanup() => _network!.Dispose();
}
