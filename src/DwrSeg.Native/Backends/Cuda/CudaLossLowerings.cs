using System.Collections.Immutable;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// Lowerings of what a training step has besides convolutions and batch norms: the loss and its gradient, the gradients of ReLU, maximum and
/// resampling, and the update of the parameters. Their maps are fp32.
/// </summary>
internal static class CudaLossLowerings
{
    public static CudaStep BindFill(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        Node node = TrainingPrecision.Require(binder, nodes[0]);
        return new CudaStep(FillCuda.Prepare(binder.Kernels, ((Fill)node.Layer).Value, binder.Map(node.Output)));
    }

    public static CudaStep BindReluGradient(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        Node node = TrainingPrecision.Require(binder, nodes[0]);
        return new CudaStep(ReluGradientCuda.Prepare(
            binder.Kernels, binder.Map(node.Inputs[0]), binder.Map(node.Inputs[1]), binder.Map(node.Output), node.Outputs[0].Accumulate));
    }

    public static CudaStep BindMaxPoolGradient(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        Node node = TrainingPrecision.Require(binder, nodes[0]);
        return new CudaStep(MaxPoolGradientCuda.Prepare(
            binder.Kernels, binder.Map(node.Inputs[0]), binder.Map(node.Inputs[1]), binder.Map(node.Output), node.Outputs[0].Accumulate));
    }

    public static CudaStep BindResizeGradient(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        Node node = TrainingPrecision.Require(binder, nodes[0]);
        return new CudaStep(ResizeGradientCuda.Prepare(
            binder.Kernels, binder.Map(node.Inputs[0]), binder.Map(node.Output), node.Outputs[0].Accumulate));
    }

    public static CudaStep BindOhem(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        Node node = TrainingPrecision.Require(binder, nodes[0]);
        var layer = (OhemCrossEntropy)node.Layer;
        var ohem = new CudaOhem(
            binder.Map(node.Inputs[0]), binder.Bytes(node.Inputs[1]), layer.Ignore, layer.Threshold, layer.MinKeptFraction,
            binder.Values(node.Outputs[0].View), binder.Values(node.Outputs[1].View));
        var loss = binder.Keep(new OhemCuda(binder.Kernels, ohem, binder.Stream));
        return new CudaStep(loss.Launches, [], [loss]);
    }

    public static CudaStep BindCrossEntropyGradient(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        Node node = TrainingPrecision.Require(binder, nodes[0]);
        return new CudaStep(CrossEntropyGradientCuda.Prepare(
            binder.Kernels, binder.Map(node.Inputs[0]), binder.Bytes(node.Inputs[1]), binder.Values(node.Inputs[2]), binder.Values(node.Inputs[3]),
            binder.Map(node.Output), node.Outputs[0].Accumulate));
    }

    /// <summary>Any number of weight updates.</summary>
    public static CudaStep BindUpdates(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        CudaUpdate[] updates = [.. nodes.Select(n =>
        {
            var layer = (SgdUpdate)TrainingPrecision.Require(binder, n).Layer;
            return new CudaUpdate(
                binder.Values(n.Inputs[0]), binder.Values(n.Inputs[1]), binder.Values(n.Inputs[2]), binder.Values(n.Inputs[3]),
                n.Inputs[0].Shape.Elements, layer.Momentum, layer.WeightDecay);
        })];
        var sgd = binder.Keep(new SgdCuda(binder.Kernels, updates, binder.Stream));
        return new CudaStep([sgd.Launch], [], [sgd]);
    }
}
