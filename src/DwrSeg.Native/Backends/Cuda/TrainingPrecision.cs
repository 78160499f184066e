using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// What a training step alone has is computed in fp32: gradients span more orders of magnitude than fp16 has, and sums of them more digits than either
/// 16-bit type.
/// </summary>
internal static class TrainingPrecision
{
    /// <summary>The node, where the plan's maps are fp32.</summary>
    /// <exception cref="NotSupportedException">They are of another type.</exception>
    public static Node Require(CudaBinder binder, Node node) => binder.Element == CudaElement.Float32 ? node
        : throw new NotSupportedException(
            $"The CUDA backend cannot run {node.Layer.GetType().Name} ('{node.Name}') in {binder.Element.KernelName()}: training computes in fp32.");
}
