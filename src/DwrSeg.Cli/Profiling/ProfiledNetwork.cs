using DwrSeg.Native;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;

namespace DwrSeg.Cli.Profiling;

/// <summary>A compiled network with the file's weights, or fresh ones where there is no file, and the image to give it.</summary>
internal sealed class ProfiledNetwork : IDisposable
{
    private readonly ITensorStore _store;
    private readonly byte[] _pixels;
    private readonly int _imageHeight;
    private readonly int _imageWidth;

    public ProfiledNetwork(IBackend backend, ProfileSettings settings, PlanOptions? options = null)
    {
        (_pixels, _imageHeight, _imageWidth) = ReadImage(settings);
        LayerGraph graph = DwrSegModel.Inference(settings.Model.Config, 1, settings.Height, settings.Width);
        _store = backend.CreateStore();
        try
        {
            if (settings.Model.File is { } path)
            {
                using SafetensorsFile file = SafetensorsFile.Open(path);
                ModelWeights.Load(file, graph, _store);
            }
            else
            {
                ModelWeights.Initialize(graph, _store, seed: 1);
            }
            Plan = backend.Compile(InferencePasses.Apply(graph), _store, (options ?? new PlanOptions()) with { Fuse = settings.Fuse });
        }
        catch
        {
            _store.Dispose();
            throw;
        }
    }

    public IPlan Plan { get; }

    public Tensor Input => Plan.Graph[DwrSegModel.Image];

    public Tensor Logits => Plan.Graph[DwrSegModel.Logits];

    public ImageView Image => new(_pixels, _imageWidth, _imageHeight, 3 * _imageWidth, PixelFormat.Rgb);

    public void Dispose()
    {
        Plan.Dispose();
        _store.Dispose();
    }

    private static (byte[] Pixels, int Height, int Width) ReadImage(ProfileSettings settings)
    {
        if (settings.Image is { } path)
        {
            RgbImage image = ImageCodec.Decode(path);
            return (image.Pixels.ToArray(), image.Height, image.Width);
        }
        var noise = new byte[settings.Height * settings.Width * 3];
        new Random(1).NextBytes(noise);
        return (noise, settings.Height, settings.Width);
    }
}
