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

    public TrainingPlan(LayerGraph graph, IBackend backend, ITensorStore store)
    {
        _plan = backend.Compile(graph, store);
        (_image, _labels) = (graph[DwrSegModel.Image], graph[DwrSegModel.Labels]);
        (_rate, _loss) = (graph[Sgd.LearningRate], graph[DwrSegModel.Loss]);
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
    public float? Step(ReadOnlySpan<float> images, ReadOnlySpan<byte> labels, float learningRate)
    {
        // Weight decay, momentum and BN would move even though the gradient is zero.
        if (!labels.ContainsAnyExcept(SegmentationSample.Ignore)) return null;
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
