using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native;

/// <summary>Tells whether a failure means too little memory, on whatever device: less may then do.</summary>
internal static class MemoryShortage
{
    public static bool Is(Exception failure) =>
        failure is InsufficientMemoryException || (failure is CudaException cuda && cuda.Status == (int)CUresult.OutOfMemory);
}
