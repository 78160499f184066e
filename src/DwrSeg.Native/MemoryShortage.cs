using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native;

/// <summary>Tells whether a failure means too little memory, on whatever device: less may then do.</summary>
internal static class MemoryShortage
{
    public static bool Is(Exception failure) =>
        failure is InsufficientMemoryException || (failure is CudaException cuda && cuda.Status == (int)CUresult.OutOfMemory);

    /// <summary>The failure of an allocation, with what the plan that it was for needs as a whole; the plan's memory is given back already.</summary>
    /// <param name="context">The device.</param>
    /// <param name="failure">What failed.</param>
    /// <param name="element">How maps lie in memory.</param>
    /// <param name="maps">Bytes of maps.</param>
    /// <param name="workspaces">Bytes of workspaces, as far as they are known.</param>
    /// <param name="weights">Bytes of packed weights.</param>
    public static CudaException OfPlan(CudaContext context, CudaException failure, CudaElement element, long maps, long workspaces, long weights)
    {
        string free = "";
        using (ContextScope scope = context.Enter())
        {
            if (context.Driver.MemGetInfo(out ulong bytes, out _) == CUresult.Success) free = $"; {CudaStatus.MiB(bytes)} are free without it";
        }
        return new CudaException(
            $"{failure.Message} The whole plan needs about {MiB(maps + workspaces + weights)} ({MiB(maps)} of maps, {MiB(workspaces)} of workspaces, "
            + $"{MiB(weights)} of packed weights){free}.{(element == CudaElement.Float32 ? " In fp16 it needs about half." : "")}",
            failure.Call, failure.Status, failure.StatusName, failure.IsSticky, failure);

        static string MiB(long bytes) => CudaStatus.MiB((ulong)bytes);
    }
}
