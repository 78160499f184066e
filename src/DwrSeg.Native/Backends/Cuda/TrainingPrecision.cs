using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>What a training step alone has is computed in fp32.</summary>
internal static class TrainingPrecision
{
    /// <summary>The node, where the plan's maps are fp32.</summary>
    /// <exception cref="NotSupportedException">They are of another type.</exception>
    public static Node Require(CudaBinder binder, Node node) => binder.Element == CudaElement.Float32 ? node
        : throw new NotSupportedException(
            $"The CUDA backend cannot run {node.Layer.GetType().Name} ('{node.Name}') in {binder.Element.KernelName()}: training computes in fp32.");
}
