using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda.Profiling;

/// <summary>A launch, or a library's call in place of one, and what it is there for.</summary>
/// <param name="Step">The plan's step, such as <c>conv3x3+relu</c>.</param>
/// <param name="Layer">The first layer of the step, or of the launch's part of it.</param>
/// <param name="Work">The launch or call.</param>
internal sealed record FrameLaunch(string Step, string Layer, CudaWork Work)
{
    /// <summary>The launch; null for a library's call.</summary>
    public CudaLaunch? Launch => Work as CudaLaunch;
}

/// <summary>
/// A frame from the image in device memory to its class map: preprocessing, a plan's launches, class map, each of which can also be put on
/// the stream alone.
/// </summary>
internal sealed class CudaFrame : IDisposable
{
    private readonly CudaPlan _plan;
    private readonly CudaDeviceVariable<byte> _image;
    private readonly CudaDeviceVariable<byte> _classes;
    private readonly CudaLaunch _preprocess;
    private readonly CudaLaunch _classMap;

    /// <summary>Uploads the image; the class map gets its size.</summary>
    /// <param name="plan">The plan, which must live as long.</param>
    /// <param name="kernels">Its kernels.</param>
    /// <param name="input">The plan's image input, of one image.</param>
    /// <param name="logits">The plan's output.</param>
    /// <param name="image">The image.</param>
    /// <param name="normalization">How its values become the input's.</param>
    public CudaFrame(CudaPlan plan, KernelCache kernels, Tensor input, Tensor logits, in ImageView image, in Normalization normalization)
    {
        image.Validate();
        _plan = plan;
        int lineBytes = image.Width * image.Format.BytesPerPixel();
        var packed = new byte[checked(lineBytes * image.Height)];
        for (int row = 0; row < image.Height; row++) image.Pixels.Slice(row * image.RowBytes, lineBytes).CopyTo(packed.AsSpan(row * lineBytes));
        _image = new CudaDeviceVariable<byte>(kernels.Context, packed.Length);
        _classes = new CudaDeviceVariable<byte>(kernels.Context, (long)image.Width * image.Height);
        try
        {
            _image.CopyToDevice(packed, plan.Stream);
            var pixels = new DeviceImage(_image.DevicePointer, image.Width, image.Height, lineBytes, image.Format);
            _preprocess = PreprocessCuda.Prepare(kernels, pixels, plan.MapOf(input), normalization);
            _classMap = ArgMaxHeadCuda.Prepare(
                kernels, plan.MapOf(logits), image.Height, image.Width, new ByteMap(_classes.DevicePointer, image.Width));
        }
        catch
        {
            Dispose();
            throw;
        }
        Launches =
        [
            new FrameLaunch("preprocess", input.Name, _preprocess),
            .. plan.Covers.Zip(plan.Summary.Steps, (cover, step) => cover.Launches.Select(
                (launch, i) => new FrameLaunch(cover.Name, LayerOf(step, cover.Launches.Count, i), launch))).SelectMany(l => l),
            new FrameLaunch("class map", logits.Name, _classMap),
        ];
    }

    /// <summary>Every launch of a frame in its order.</summary>
    public IReadOnlyList<FrameLaunch> Launches { get; }

    /// <summary>What frames run on.</summary>
    public CudaStream Stream => _plan.Stream;

    /// <summary>Puts a whole frame on the stream, the plan's part of it as its captured graph.</summary>
    public void Run()
    {
        _preprocess.Launch(Stream);
        _plan.Run();
        _classMap.Launch(Stream);
    }

    // A step of several launches has one for each of its convolutions, or no such order.
    private static string LayerOf(StepSummary step, int launches, int index)
    {
        Node[] convolutions = [.. step.Nodes.Where(n => n.Layer is Conv2d)];
        return launches > 1 && convolutions.Length == launches ? convolutions[index].Name : step.Nodes[0].Name;
    }

    public void Dispose()
    {
        _classes.Dispose();
        _image.Dispose();
    }
}
