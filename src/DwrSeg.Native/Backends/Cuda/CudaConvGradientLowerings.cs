using System.Collections.Immutable;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Lowerings of what a training step has besides a convolution itself: its gradients by input and weights.</summary>
internal static class CudaConvGradientLowerings
{
    /// <summary>The gradient by the input: a convolution of the output's gradient, of stride 2 the transposed one.</summary>
    public static CudaStep BindDataGradient(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        Node node = nodes[0];
        TrainingPrecision.Require(binder, node);
        var layer = (Conv2dDataGradient)node.Layer;
        DeviceMap dy = binder.Map(node.Inputs[1]), dx = binder.Map(node.Output);
        bool accumulate = node.Outputs[0].Accumulate;
        PackedWeights packed = new(binder, node.Name, node.Inputs[0], layer.Stride == 1 ? WeightUse.TransposedFlipped : WeightUse.Transposed);
        CudaLaunch run = layer.Stride == 1
            ? Float32Convolution.Prepare(binder.Kernels, Transposed(dy, dx, layer, accumulate) with { Weights = packed.In }, binder.Workspace)
            : ConvFfmaCuda.PrepareTransposed(binder.Kernels, dy, dx, packed.In, layer.Kernel, accumulate);
        return packed.StepOf(run);
    }

    /// <summary>The gradient by the weights.</summary>
    public static CudaStep BindWeightGradient(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        Node node = nodes[0];
        TrainingPrecision.Require(binder, node);
        var layer = (Conv2dWeightGradient)node.Layer;
        return new CudaStep(ConvWeightGradientCuda.Prepare(
            binder.Kernels, binder.Map(node.Inputs[0]), binder.Map(node.Inputs[1]), binder.Values(node.Output), layer.Kernel, layer.Stride,
            node.Outputs[0].Accumulate, binder.Workspace));
    }

    /// <summary>What memory for shared sums such a step would like; nothing for other nodes.</summary>
    public static (long PartialBytes, int Tiles) WorkspaceFor(CudaBinder binder, Node node) => node.Layer switch
    {
        Conv2dDataGradient { Stride: 1 } layer => Float32Convolution.WorkspaceFor(
            binder.Device, Transposed(binder.Map(node.Inputs[1]), binder.Map(node.Output), layer, node.Outputs[0].Accumulate)),
        Conv2dWeightGradient layer => ConvWeightGradientCuda.WorkspaceFor(
            binder.Device, binder.Map(node.Inputs[0]), binder.Map(node.Inputs[1]), layer.Kernel),
        _ => default,
    };

    private static CudaConvolution Transposed(in DeviceMap dy, in DeviceMap dx, Conv2dDataGradient layer, bool accumulate) =>
        new(dy, dx, null, layer.Kernel) { Residual = accumulate ? dx : null };
}
