using System.Runtime.CompilerServices;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;

namespace DwrSeg.Native;

/// <summary>
/// Semantic segmentation of images with a DWRSeg network (arXiv 2212.01173): one class per pixel. Load once, run many times.
/// </summary>
/// <remarks>
/// <para>The class map has the image's own size: the network's logits, at 1/8 of its input size, are upsampled bilinearly to the image and
/// each pixel takes the class of the largest; of equal ones the lowest id.</para>
/// <para>Thread-safe: calls from several threads run one after the other, each with all of the segmenter's threads. For more throughput from
/// many small images load several segmenters with <see cref="SegmenterOptions.Threads"/> = 1. <see cref="RunAsync"/> overlaps consecutive
/// frames where the device can.</para>
/// <para>Holds native memory and threads until it is disposed. The first run at a network's input size prepares a plan for it, which takes a
/// while and memory in proportion to the size; the plans of the last four sizes are kept.</para>
/// </remarks>
public sealed class Segmenter : IDisposable
{
    /// <summary>The largest width and height of an image, in pixels.</summary>
    public const int MaxSide = 16384;

    /// <summary>The most frames that <see cref="RunAsync"/> holds at a time.</summary>
    public const int MaxFramesInFlight = 16;

    private readonly Lock _gate = new();
    private readonly IBackend _backend;
    private readonly string _note;
    private readonly ITensorStore _store;
    private readonly DwrSegConfig _config;
    private readonly Normalization _normalization;
    private readonly PlanCache _plans;
    private volatile bool _disposed;

    private Segmenter(IBackend backend, SafetensorsFile file, SegmenterOptions options, string note)
    {
        ModelMetadata metadata = ModelMetadata.Read(file);
        (_backend, _note, _config, _normalization) = (backend, note, metadata.Config, metadata.Normalization);
        Classes = metadata.Classes ?? new ClassList(Enumerable.Range(0, _config.Classes).Select(i => $"class {i}"));
        InputSize = options.InputSize ?? (options.SizePolicy == SizePolicy.Trained ? metadata.InputSize : null);
        _store = backend.CreateStore();
        try
        {
            // Weights do not depend on the input size; the smallest graph names them all.
            // Checkpoints hold velocities too.
            ModelWeights.Load(file, DwrSegModel.Inference(_config, 1, 1, 1), _store,
                isForeign: name => name.StartsWith(Autograd.Sgd.VelocityPrefix, StringComparison.Ordinal));
        }
        catch
        {
            _store.Dispose();
            throw;
        }
        _plans = new PlanCache(size =>
            backend.Compile(InferencePasses.Apply(DwrSegModel.Inference(_config, 1, size.Height, size.Width)), _store));
    }

    /// <summary>Names and colours of the classes; ids are 0 … Count−1. Where the weights file has none, <c>class 0</c> and so on.</summary>
    public ClassList Classes { get; }

    /// <summary>The device that computes, such as <c>cpu</c>.</summary>
    public string Device => _backend.Name;

    /// <summary>
    /// The device in one line for people, with what was passed over on the way where it was chosen automatically. It names the libraries in use,
    /// and so may change: one that fails is left out.
    /// </summary>
    public string DeviceDescription => _note.Length == 0 ? _backend.Description : $"{_backend.Description} ({_note})";

    /// <summary>The network's input size in pixels; null: each image's own.</summary>
    public (int Height, int Width)? InputSize { get; }

    /// <summary>Loads a model.</summary>
    /// <param name="path">A safetensors file with PyTorch's <c>state_dict</c> names and the configuration in its metadata.</param>
    /// <param name="options">Null for the defaults.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="IOException">The file can't be read.</exception>
    /// <exception cref="WeightsFormatException">It is damaged, holds no DWRSeg model, or its tensors do not fit its configuration.</exception>
    /// <exception cref="ArgumentException">An option is out of range, or no device has such a name.</exception>
    /// <exception cref="DeviceUnavailableException">The device is not there, or does not compute in this precision.</exception>
    /// <exception cref="CudaException">The device can't be opened, or its memory ran out.</exception>
    public static Segmenter Load(string path, SegmenterOptions? options = null)
    {
        options?.Validate();
        using SafetensorsFile file = SafetensorsFile.Open(path);
        return Load(file, options);
    }

    /// <summary>Loads a model from a file that is open already, and leaves it open.</summary>
    /// <inheritdoc cref="Load(string, SegmenterOptions?)"/>
    public static Segmenter Load(SafetensorsFile file, SegmenterOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(file);
        options ??= new SegmenterOptions();
        options.Validate();
        IBackend backend = Devices.Open(options.Device, options.Threads, out string note, options.Precision, convolutions: options.Convolutions);
        return Load(file, options, backend, note);
    }

    /// <summary>Loads a model onto an open device, which the segmenter then owns.</summary>
    /// <param name="file">The model.</param>
    /// <param name="options">How it works.</param>
    /// <param name="backend">The device.</param>
    /// <param name="note">What was passed over on the way to it.</param>
    internal static Segmenter Load(SafetensorsFile file, SegmenterOptions options, IBackend backend, string note = "")
    {
        try
        {
            return new Segmenter(backend, file, options, note);
        }
        catch
        {
            backend.Dispose();
            throw;
        }
    }

    /// <summary>Segments an image file (JPEG, PNG, WebP, BMP or GIF; EXIF orientation is applied).</summary>
    /// <param name="imagePath">The file.</param>
    /// <param name="withConfidence">Whether <see cref="Segmentation.Confidence"/> is wanted too.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="IOException">The file can't be read.</exception>
    /// <exception cref="ImageFormatException">It is no image, damaged, cut short or too large.</exception>
    /// <exception cref="InsufficientMemoryException">The network at this input size does not fit into the machine's memory.</exception>
    /// <exception cref="CudaException">The device failed, or its memory ran out.</exception>
    /// <exception cref="ObjectDisposedException">The segmenter is disposed.</exception>
    public Segmentation Run(string imagePath, bool withConfidence = false)
    {
        ThrowIfDisposed();
        return Run(ImageCodec.Decode(imagePath), imagePath, withConfidence);
    }

    /// <summary>Segments an encoded image from a stream, which is read to its end and left open.</summary>
    /// <param name="encoded">Need not be seekable.</param>
    /// <param name="withConfidence">Whether <see cref="Segmentation.Confidence"/> is wanted too.</param>
    /// <exception cref="IOException">The stream can't be read.</exception>
    /// <exception cref="ImageFormatException">It holds no image, or one that is damaged, cut short or too large.</exception>
    /// <exception cref="InsufficientMemoryException">The network at this input size does not fit into the machine's memory.</exception>
    /// <exception cref="CudaException">The device failed, or its memory ran out.</exception>
    /// <exception cref="ObjectDisposedException">The segmenter is disposed.</exception>
    public Segmentation Run(Stream encoded, bool withConfidence = false)
    {
        ArgumentNullException.ThrowIfNull(encoded);
        ThrowIfDisposed();
        return Run(ImageCodec.Decode(encoded, StreamName), StreamName, withConfidence);
    }

    /// <summary>Segments an encoded image in memory.</summary>
    /// <param name="encoded">The bytes of a file.</param>
    /// <param name="withConfidence">Whether <see cref="Segmentation.Confidence"/> is wanted too.</param>
    /// <exception cref="ImageFormatException">It is no image, damaged, cut short or too large.</exception>
    /// <exception cref="InsufficientMemoryException">The network at this input size does not fit into the machine's memory.</exception>
    /// <exception cref="CudaException">The device failed, or its memory ran out.</exception>
    /// <exception cref="ObjectDisposedException">The segmenter is disposed.</exception>
    public Segmentation Run(ReadOnlySpan<byte> encoded, bool withConfidence = false)
    {
        ThrowIfDisposed();
        return Run(ImageCodec.Decode(encoded, StreamName), StreamName, withConfidence);
    }

    /// <summary>
    /// Segments raw pixels into the caller's memory. After the first run at a size it allocates nothing on the managed heap.
    /// </summary>
    /// <param name="pixels">8-bit pixels, rows from top to bottom.</param>
    /// <param name="width">Pixels in a row, 1 to <see cref="MaxSide"/>.</param>
    /// <param name="height">Rows, 1 to <see cref="MaxSide"/>.</param>
    /// <param name="rowBytes">Bytes from the start of a row to the start of the next; at least <paramref name="width"/> times the pixel's.</param>
    /// <param name="format">The order of a pixel's bytes.</param>
    /// <param name="classes">Receives width · height class ids, rows from top to bottom without padding.</param>
    /// <param name="confidence">Empty, or receives for each pixel its class's softmax probability in 1/255.</param>
    /// <exception cref="ArgumentException">A size is out of range or a span is too short; the message says what is needed.</exception>
    /// <exception cref="InsufficientMemoryException">The network at this input size does not fit into the machine's memory.</exception>
    /// <exception cref="CudaException">The device failed, or its memory ran out.</exception>
    /// <exception cref="ObjectDisposedException">The segmenter is disposed.</exception>
    public void Run(
        ReadOnlySpan<byte> pixels, int width, int height, int rowBytes, PixelFormat format, Span<byte> classes, Span<byte> confidence = default)
    {
        ImageView image = View(pixels, width, height, rowBytes, format);
        RequireResults(image, classes.Length, confidence.Length);
        int count = width * height;
        lock (_gate)
        {
            ThrowIfDisposed();
            PlanCache.Entry entry = _plans.Get(InputSize ?? (height, width));
            entry.Plan.WriteImage(entry.Image, 0, image, _normalization);
            entry.Plan.Run();
            entry.Plan.ReadClasses(entry.Logits, 0, height, width, classes[..count], confidence.IsEmpty ? default : confidence[..count]);
        }
    }

    /// <summary>
    /// Segments a stream of frames into the callers' memory and gives them back in their order. On a CUDA device the upload of one frame, the
    /// computation of another and the download of a third overlap; on the processor frames are computed one after the other, beside whatever
    /// the source and the reader do. While frames keep their size, one allocates nothing, on the managed heap or the device.
    /// </summary>
    /// <remarks>
    /// <para>A frame is asked for when less than <paramref name="framesInFlight"/> are between the source and the reader, which holds one until
    /// it asks for the next: a ring of so many buffers is enough. <see cref="Frame.Pixels"/> are free again when the source is asked for
    /// another frame.</para>
    /// <para>An error, of the source too, comes out in the place of its frame, after the frames before it, and ends the enumeration; the
    /// segmenter stays usable. Ending the enumeration early, or cancelling it, waits for the frames that have begun, and for the source to
    /// answer if it does not observe its token. Other runs of the segmenter may go on meanwhile.</para>
    /// </remarks>
    /// <param name="frames">The source. It is enumerated on another thread.</param>
    /// <param name="framesInFlight">2 to <see cref="MaxFramesInFlight"/>; with 4 one frame can be uploaded, one computed and one downloaded
    /// while the reader holds one. Each takes memory for an image and its class map, pinned and on the device.</param>
    /// <param name="cancellation">Ends the enumeration with <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="ArgumentException">A frame's size is out of range or its memory is too short; the message says what is needed.</exception>
    /// <exception cref="InsufficientMemoryException">The network at a frame's input size does not fit into the machine's memory.</exception>
    /// <exception cref="CudaException">The device failed, or its memory ran out.</exception>
    /// <exception cref="ObjectDisposedException">The segmenter is disposed.</exception>
    public IAsyncEnumerable<Frame> RunAsync(IAsyncEnumerable<Frame> frames, int framesInFlight = 4, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(frames);
        if (framesInFlight is < 2 or > MaxFramesInFlight)
            throw new ArgumentOutOfRangeException(nameof(framesInFlight), framesInFlight, $"2 to {MaxFramesInFlight} are possible.");
        ThrowIfDisposed();
        return Enumerate(frames, framesInFlight, cancellation);
    }

    /// <summary>
    /// Paints the classes' colours over raw pixels, in place or into a buffer of the same layout. Allocates nothing, and needs neither the
    /// network nor the device.
    /// </summary>
    /// <param name="pixels">8-bit pixels, rows from top to bottom.</param>
    /// <param name="width">Pixels in a row, 1 to <see cref="MaxSide"/>.</param>
    /// <param name="height">Rows, 1 to <see cref="MaxSide"/>.</param>
    /// <param name="rowBytes">Bytes from the start of a row to the start of the next, in both buffers.</param>
    /// <param name="format">The order of a pixel's bytes, in both buffers; a fourth byte is copied.</param>
    /// <param name="classes">Width · height class ids; a pixel whose id is no class stays as it is.</param>
    /// <param name="overlay">As long as <paramref name="pixels"/> or the same memory. Bytes between rows are left alone.</param>
    /// <param name="opacity">Of the colours, 0 (the image alone) to 1 (the colours alone).</param>
    /// <exception cref="ArgumentException">A size or the opacity is out of range, a span is too short, or the two buffers overlap in part.</exception>
    public void PaintOverlay(
        ReadOnlySpan<byte> pixels, int width, int height, int rowBytes, PixelFormat format, ReadOnlySpan<byte> classes, Span<byte> overlay,
        double opacity = 0.5)
    {
        ImageView image = View(pixels, width, height, rowBytes, format);
        RequireLength(classes.Length, (long)width * height, nameof(classes));
        RequireLength(overlay.Length, BytesNeeded(image), nameof(overlay));
        int bytes = (int)BytesNeeded(image);
        if (overlay[..bytes].Overlaps(pixels[..bytes], out int offset) && offset != 0)
            throw new ArgumentException("overlay overlaps pixels in part; it must be the same memory or another.", nameof(overlay));
        ClassOverlay.Blend(image, classes, Classes, opacity, overlay);
    }

    /// <summary>Waits for a run in progress and frees all memory and threads. Later runs throw.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_disposed) return;
            _disposed = true;
            _plans.Dispose();
            _store.Dispose();
            _backend.Dispose();
        }
    }

    private const string StreamName = "the encoded image";

    private Segmentation Run(RgbImage image, string name, bool withConfidence)
    {
        if (image.Width > MaxSide || image.Height > MaxSide)
            throw new ImageFormatException(name, $"is {image.Width} x {image.Height} pixels; at most {MaxSide} each are possible, scale it down first");
        byte[] classes = new byte[image.Width * image.Height], confidence = withConfidence ? new byte[classes.Length] : [];
        Run(image.Pixels, image.Width, image.Height, image.Width * 3, PixelFormat.Rgb, classes, confidence);
        return new Segmentation(image, classes, confidence, Classes);
    }

    private async IAsyncEnumerable<Frame> Enumerate(
        IAsyncEnumerable<Frame> frames, int framesInFlight, [EnumeratorCancellation] CancellationToken cancellation)
    {
        FramePipeline pipeline;
        lock (_gate)
        {
            ThrowIfDisposed();
            pipeline = new FramePipeline(_backend.CreateFrameQueue(framesInFlight), Begin, framesInFlight);
        }
        await foreach (Frame frame in pipeline.Run(frames, cancellation).ConfigureAwait(false)) yield return frame;
    }

    private void Begin(IFrameQueue queue, Frame frame)
    {
        int rowBytes = frame.RowBytes == 0 ? frame.Width * frame.Format.BytesPerPixel() : frame.RowBytes;
        ImageView image = View(frame.Pixels.Span, frame.Width, frame.Height, rowBytes, frame.Format);
        RequireResults(image, frame.Classes.Length, frame.Confidence.Length);
        lock (_gate)
        {
            ThrowIfDisposed();
            PlanCache.Entry entry = _plans.Get(InputSize ?? (frame.Height, frame.Width));
            queue.Begin(entry.Plan, entry.Image, entry.Logits, image, _normalization, !frame.Confidence.IsEmpty);
        }
    }

    private void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(_disposed, this);

    private static ImageView View(ReadOnlySpan<byte> pixels, int width, int height, int rowBytes, PixelFormat format)
    {
        RequireSide(width, nameof(width));
        RequireSide(height, nameof(height));
        int rowNeeds = width * format.BytesPerPixel();
        if (rowBytes < rowNeeds)
            throw new ArgumentException($"rowBytes is {rowBytes}; a row of {width} {format} pixels needs {rowNeeds}.", nameof(rowBytes));
        var image = new ImageView(pixels, width, height, rowBytes, format);
        RequireLength(pixels.Length, BytesNeeded(image), nameof(pixels));
        return image;
    }

    private static void RequireResults(in ImageView image, int classes, int confidence)
    {
        int count = image.Width * image.Height;
        RequireLength(classes, count, nameof(classes));
        if (confidence > 0) RequireLength(confidence, count, nameof(confidence));
    }

    /// <summary>From the first byte to the end of the last row's last pixel.</summary>
    private static long BytesNeeded(in ImageView image) =>
        (image.Height - 1L) * image.RowBytes + image.Width * image.Format.BytesPerPixel();

    internal static void RequireSide(int side, string name)
    {
        if (side is < 1 or > MaxSide) throw new ArgumentOutOfRangeException(name, side, $"1 to {MaxSide} pixels are possible.");
    }

    private static void RequireLength(int length, long needed, string name)
    {
        if (length < needed) throw new ArgumentException($"{name} has {length} bytes; {needed} are needed.", name);
    }
}
