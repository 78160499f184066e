using System.Collections.Immutable;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Lowerings of a training step's sums over pixels: batch norms and their gradients, those of biases and depth-wise convolutions.</summary>
internal static class CudaNormLowerings
{
    /// <summary>What memory for shared sums such a node would like; nothing where it is none of these.</summary>
    public static (long PartialBytes, int Tiles) WorkspaceFor(CudaBinder binder, Node node)
    {
        DeviceMap Input(int index) => binder.Map(node.Inputs[index]);
        return node.Layer switch
        {
            BiasGradient => BiasGradientCuda.WorkspaceFor(binder.Device, Input(0)),
            BatchNormTraining => BatchNormStatisticsCuda.WorkspaceFor(binder.Device, Input(0)),
            BatchNormGradient => BatchNormGradientCuda.WorkspaceFor(binder.Device, Input(0), Input(4)),
            DepthwiseWeightGradient => DepthwiseGradientCuda.WorkspaceFor(binder.Device, Input(0), Input(1)),
            _ => default,
        };
    }

    public static CudaStep BindBiasGradient(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        Node node = nodes[0];
        TrainingPrecision.Require(binder, node);
        return new CudaStep(BiasGradientCuda.Prepare(
            binder.Kernels, binder.Map(node.Inputs[0]), binder.Values(node.Output), node.Outputs[0].Accumulate, binder.Workspace));
    }

    /// <summary>The batch's statistics, then an affine map of them.</summary>
    public static CudaStep BindNormTraining(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        Node node = nodes[0];
        TrainingPrecision.Require(binder, node);
        if (node.Outputs.Any(o => o.Accumulate)) throw new NotSupportedException($"The CUDA backend cannot accumulate in '{node.Name}'.");
        var layer = (BatchNormTraining)node.Layer;
        DeviceMap x = binder.Map(node.Inputs[0]), y = binder.Map(node.Output);
        CudaDeviceVariable<byte> scale = binder.Allocate(x.C * sizeof(float)), shift = binder.Allocate(x.C * sizeof(float));
        // The updated running values lie where the inputs did.
        var norm = new CudaBatchNorm(
            binder.Values(node.Inputs[1]), binder.Values(node.Inputs[2]), binder.Values(node.Inputs[3]), binder.Values(node.Inputs[4]),
            binder.Values(node.Outputs[1].View), binder.Values(node.Outputs[2].View), scale.DevicePointer, shift.DevicePointer);
        return new CudaStep(
            [
                BatchNormStatisticsCuda.Prepare(binder.Kernels, x, norm, layer.Epsilon, layer.Momentum, binder.Workspace),
                ScaledCopyCuda.Prepare(binder.Kernels, x, y, 1, norm.Scale, norm.Shift),
            ],
            [], [scale, shift]);
    }

    /// <summary>The gradients by scale and shift, then that by the input.</summary>
    public static CudaStep BindNormGradient(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        Node node = nodes[0];
        TrainingPrecision.Require(binder, node);
        if (node.Outputs[1].Accumulate || node.Outputs[2].Accumulate)
            throw new NotSupportedException($"'{node.Name}': two BNs share one scale or shift.");
        DeviceMap x = binder.Map(node.Inputs[0]), dy = binder.Map(node.Inputs[4]), dx = binder.Map(node.Output);
        CudaDeviceVariable<byte> coefficients = binder.Allocate(BatchNormGradientCuda.CoefficientBytes(x.C));
        var norm = new CudaBatchNormGradient(
            binder.Values(node.Inputs[1]), binder.Values(node.Inputs[2]), binder.Values(node.Inputs[3]), binder.Values(node.Outputs[1].View),
            binder.Values(node.Outputs[2].View), coefficients.DevicePointer);
        return new CudaStep(
            [
                BatchNormGradientCuda.PrepareSums(binder.Kernels, x, dy, norm, binder.Workspace),
                BatchNormGradientCuda.PrepareData(binder.Kernels, x, dy, dx, norm, node.Outputs[0].Accumulate),
            ],
            [], [coefficients]);
    }

    public static CudaStep BindDepthwiseWeightGradient(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        Node node = nodes[0];
        TrainingPrecision.Require(binder, node);
        return new CudaStep(DepthwiseGradientCuda.PrepareWeights(
            binder.Kernels, binder.Map(node.Inputs[0]), binder.Map(node.Inputs[1]), binder.Values(node.Output),
            ((DepthwiseWeightGradient)node.Layer).Dilation, node.Outputs[0].Accumulate, binder.Workspace));
    }

    public static CudaStep BindDepthwiseDataGradient(CudaBinder binder, ImmutableArray<Node> nodes)
    {
        Node node = nodes[0];
        TrainingPrecision.Require(binder, node);
        return new CudaStep(DepthwiseGradientCuda.PrepareData(
            binder.Kernels, binder.Values(node.Inputs[0]), binder.Map(node.Inputs[1]), binder.Map(node.Output),
            ((DepthwiseDataGradient)node.Layer).Dilation, node.Outputs[0].Accumulate));
    }
}
