using System.Buffers;
using DwrSeg.Native.Autograd;
using DwrSeg.Native.Backends;
using DwrSeg.Native.Data;
using DwrSeg.Native.Graph;
using DwrSeg.Native.Models;

namespace DwrSeg.Native.Training;

/// <summary>A compiled training graph: one run is one whole step, forward, backward and update.</summary>
internal sealed class TrainingPlan : IDisposable
{
    private readonly IPlan _plan;
    private readonly Tensor _image, _labels, _rate, _loss;
    private readonly int _classes;
    private readonly SearchValues<byte> _known;

    public TrainingPlan(LayerGraph graph, IBackend backend, ITensorStore store)
    {
        _plan = backend.Compile(graph, store);
        (_image, _labels) = (graph[DwrSegModel.Image], graph[DwrSegModel.Labels]);
        (_rate, _loss) = (graph[Sgd.LearningRate], graph[DwrSegModel.Loss]);
        _classes = graph.Nodes.First(n => n.Layer is OhemCrossEntropy).Inputs[0].Channels;
        _known = SearchValues.Create([.. Enumerable.Range(0, _classes).Select(c => (byte)c), SegmentationSample.Ignore]);
    }

    public long ActivationBytes => _plan.Summary.ArenaBytes;

    /// <summary>The graph of a step with these options.</summary>
    public static LayerGraph CreateGraph(TrainingOptions options)
    {
        AugmentationOptions crop = options.Augmentation;
        LayerGraph forward = DwrSegModel.Training(options.Model, options.BatchSize, crop.CropHeight, crop.CropWidth, options.Loss);
        DifferentiatedGraph differentiated = Differentiation.Differentiate(forward, forward[DwrSegModel.Loss]);
        return Sgd.Append(differentiated, (float)options.Momentum, (float)options.WeightDecay);
    }

    /// <summary>Trains on a batch and returns its loss; null where all its labels are ignored, and then nothing changes.</summary>
    /// <exception cref="InvalidDataException">A label is neither a class nor the ignored id.</exception>
    public float? Step(ReadOnlySpan<float> images, ReadOnlySpan<byte> labels, float learningRate)
    {
        // Weight decay, momentum and BN would move even though the gradient is zero.
        if (!labels.ContainsAnyExcept(SegmentationSample.Ignore)) return null;
        // A device has no way to say so.
        if (labels.IndexOfAnyExcept(_known) is var wrong and >= 0)
            throw OhemCrossEntropy.WrongLabel(labels[wrong], wrong, _labels.Shape.W, _labels.Shape.H, _classes, SegmentationSample.Ignore);
        _plan.Write(_image, images);
        _plan.Write(_labels, labels);
        _plan.Write(_rate, [learningRate]);
        _plan.Run();
        float loss = 0;
        _plan.Read(_loss, new Span<float>(ref loss));
        return loss;
    }

    public void Dispose() => _plan.Dispose();
}
