using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native;

/// <summary>Tells whether a failure means too little memory, on whatever device: less may then do.</summary>
internal static class MemoryShortage
{
    // By name: each library numbers its statuses from its own beginning.
    public static bool Is(Exception failure) => failure is InsufficientMemoryException or CudaException
    {
        StatusName: "CUDA_ERROR_OUT_OF_MEMORY" or "CUDNN_STATUS_ALLOC_FAILED" or "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"
            or "CUBLAS_STATUS_ALLOC_FAILED",
    };

    /// <summary>The failure of an allocation, with what the plan that it was for needs as a whole; the plan's memory is given back already.</summary>
    /// <param name="context">The device.</param>
    /// <param name="failure">What failed.</param>
    /// <param name="element">How maps lie in memory.</param>
    /// <param name="maps">Bytes of maps.</param>
    /// <param name="workspaces">Bytes of workspaces; null where they are not known yet.</param>
    /// <param name="weights">Bytes of packed weights, about.</param>
    /// <param name="isTraining">It trains, which it does in fp32 alone.</param>
    public static CudaException OfPlan(
        CudaContext context, CudaException failure, CudaElement element, long maps, long? workspaces, long weights,
        bool isTraining = false)
    {
        string free = "";
        using (ContextScope scope = context.Enter())
        {
            if (context.Driver.MemGetInfo(out ulong bytes, out _) == CUresult.Success) free = $"; {CudaStatus.MiB(bytes)} are free without it";
        }
        bool canHalve = !isTraining && element == CudaElement.Float32 && CudaElement.Float16.FirstArchitecture() <= context.Device.ComputeCapability;
        string scratch = workspaces is { } known ? $"{MiB(known)} of workspaces, " : "";
        return new CudaException(
            $"{failure.Message} The whole plan needs about {MiB(maps + (workspaces ?? 0) + weights)} ({MiB(maps)} of maps, {scratch}"
            + $"{MiB(weights)} of packed weights){free}.{(canHalve ? " In fp16 it needs about half." : isTraining ? " A smaller batch or crop needs less." : "")}",
            failure.Call, failure.Status, failure.StatusName, failure.IsSticky, failure);

        static string MiB(long bytes) => CudaStatus.MiB((ulong)bytes);
    }
}
