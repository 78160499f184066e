using DwrSeg.Native.Backends;
using DwrSeg.Native.Data;
using DwrSeg.Native.Formats;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Graph.Passes;
using DwrSeg.Native.Models;

namespace DwrSeg.Native.Evaluation;

/// <summary>
/// Measures a network on a data set: each image is segmented as <c>Segmenter</c> does it, and the class map is compared with the labels at
/// the labels' own resolution. Not thread-safe.
/// </summary>
public sealed class Evaluator : IDisposable
{
    private readonly IBackend _backend;
    private readonly ITensorStore _store;
    private readonly ModelMetadata _model;
    private readonly (int Height, int Width)? _inputSize;
    private readonly bool _ownsBackend;
    private (int Height, int Width) _planSize;
    private IPlan? _plan;

    internal Evaluator(IBackend backend, ITensorStore store, ModelMetadata model, (int Height, int Width)? inputSize, bool ownsBackend = false) =>
        (_backend, _store, _model, _inputSize, _ownsBackend) = (backend, store, model, inputSize, ownsBackend);

    /// <summary>Called for each image, in order.</summary>
    /// <param name="sample">The image with its labels.</param>
    /// <param name="classes">The class of each pixel, in the image's size; valid during the call.</param>
    /// <param name="done">Images done, this one included.</param>
    public delegate void ImageDone(SegmentationSample sample, ReadOnlySpan<byte> classes, int done);

    /// <summary>Loads a model.</summary>
    /// <param name="path">A weights file with the configuration in its metadata.</param>
    /// <param name="options">Null for the defaults.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="WeightsFormatException">It holds no sound model.</exception>
    /// <exception cref="ArgumentException">No device has such a name, or it does not compute in this precision.</exception>
    /// <exception cref="DeviceUnavailableException">The device is not there.</exception>
    public static Evaluator Load(string path, EvaluationOptions? options = null)
    {
        options ??= new EvaluationOptions();
        using SafetensorsFile file = SafetensorsFile.Open(path);
        ModelMetadata metadata = ModelMetadata.Read(file);
        IBackend backend = Devices.Open(options.Device, options.Threads, out _, options.Precision, convolutions: options.Convolutions);
        ITensorStore store = backend.CreateStore();
        try
        {
            // Checkpoints hold velocities too.
            ModelWeights.Load(file, DwrSegModel.Inference(metadata.Config, 1, 1, 1), store,
                isForeign: name => name.StartsWith(Autograd.Sgd.VelocityPrefix, StringComparison.Ordinal));
            return new Evaluator(backend, store, metadata, options.InputSize, ownsBackend: true);
        }
        catch
        {
            store.Dispose();
            backend.Dispose();
            throw;
        }
    }

    /// <summary>Segments and compares every image.</summary>
    /// <param name="dataset">Its classes are the model's.</param>
    /// <param name="imageDone">Called after each image.</param>
    /// <param name="cancellation">Ends the evaluation between two images.</param>
    /// <exception cref="ArgumentException">The data set has other classes than the model.</exception>
    /// <exception cref="DatasetException">An image or its labels can't be read.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public EvaluationResult Run(SegmentationDataset dataset, ImageDone? imageDone = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(dataset);
        RequireSameClasses(dataset);
        var matrix = new ConfusionMatrix(_model.Config.Classes);
        byte[] classes = [];
        Task<SegmentationSample> next = Load(0);
        for (int i = 0; i < dataset.Count; i++)
        {
            // The next image is decoded while this one is segmented.
            SegmentationSample sample = next.GetAwaiter().GetResult();
            cancellation.ThrowIfCancellationRequested();
            if (i + 1 < dataset.Count) next = Load(i + 1);
            if (classes.Length < sample.Labels.Length) classes = new byte[sample.Labels.Length];
            Span<byte> map = classes.AsSpan(0, sample.Labels.Length);
            Segment(sample, map);
            matrix.Add(map, sample.Labels);
            imageDone?.Invoke(sample, map, i + 1);
        }
        return new EvaluationResult(dataset.Classes, matrix, dataset.Count);

        Task<SegmentationSample> Load(int index) => Task.Run(() => dataset.Load(index), CancellationToken.None);
    }

    /// <summary>To be called when the store's weights have changed.</summary>
    internal void Refresh() => _plan?.Prepare();

    /// <inheritdoc/>
    public void Dispose()
    {
        _plan?.Dispose();
        _plan = null;
        if (!_ownsBackend) return;
        _store.Dispose();
        _backend.Dispose();
    }

    private void Segment(SegmentationSample sample, Span<byte> classes)
    {
        (int Height, int Width) size = _inputSize ?? (sample.Height, sample.Width);
        if (_plan is null || _planSize != size)
        {
            _plan?.Dispose();
            _plan = null;
            LayerGraph graph = InferencePasses.Apply(DwrSegModel.Inference(_model.Config, 1, size.Height, size.Width));
            _plan = _backend.Compile(graph, _store);
            _planSize = size;
        }
        var view = new ImageView(sample.Rgb, sample.Width, sample.Height, 3 * sample.Width, PixelFormat.Rgb);
        _plan.WriteImage(_plan.Graph[DwrSegModel.Image], 0, view, _model.Normalization);
        _plan.Run();
        _plan.ReadClasses(_plan.Graph.Outputs[0], 0, sample.Height, sample.Width, classes, []);
    }

    private void RequireSameClasses(SegmentationDataset dataset)
    {
        if (_model.Classes is { } own && !own.Names.SequenceEqual(dataset.Classes.Names, StringComparer.Ordinal))
        {
            throw new ArgumentException($"The model's classes ({string.Join(", ", own.Names)}) are not those of {dataset.Name} " +
                $"({string.Join(", ", dataset.Classes.Names)}); take a model that was trained for them.");
        }
        if (_model.Config.Classes == dataset.Classes.Count) return;
        throw new ArgumentException($"The model has {_model.Config.Classes} classes, {dataset.Name} has {dataset.Classes.Count}; " +
            "take a model that was trained for them.");
    }
}
