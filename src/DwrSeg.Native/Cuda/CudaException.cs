using DwrSeg.Native.Cuda.Libraries;

namespace DwrSeg.Native.Cuda;

/// <summary>A CUDA call failed, or a CUDA library is missing. The message names the call, the error and what to do about it.</summary>
public sealed class CudaException : Exception
{
    internal CudaException(string message, string call, int status, string statusName, bool isSticky = false, Exception? inner = null)
        : base(message, inner)
    {
        Call = call;
        Status = status;
        StatusName = statusName;
        IsSticky = isSticky;
    }

    /// <summary>The call that failed, such as <c>cuMemAlloc</c>; the library's name where a library is missing.</summary>
    public string Call { get; }

    /// <summary>The status that the call returned; −1 where there was no call.</summary>
    public int Status { get; }

    /// <summary>The status by name, such as <c>CUDA_ERROR_OUT_OF_MEMORY</c>.</summary>
    public string StatusName { get; }

    /// <summary>Of a library's call: what its status says of it.</summary>
    internal LibraryAnswer Answer { get; init; }

    /// <summary>The device's context is lost: every later call in this process fails in the same way.</summary>
    public bool IsSticky { get; }
}
