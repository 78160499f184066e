using DwrSeg.Native.Graph;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Gradients are computed in fp32.</summary>
internal static class TrainingPrecision
{
    /// <exception cref="NotSupportedException">The plan's maps are of another type.</exception>
    public static void Require(CudaBinder binder, Node node)
    {
        if (binder.Element != CudaElement.Float32)
        {
            throw new NotSupportedException(
                $"The CUDA backend computes {node.Layer.GetType().Name} ('{node.Name}') in fp32, not in {binder.Element.KernelName()}.");
        }
    }
}
