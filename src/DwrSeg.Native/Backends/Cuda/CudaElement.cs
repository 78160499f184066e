using DwrSeg.Native.Cuda;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>How a map's values lie in device memory; arithmetic on them is fp32. The numbers are those of <c>fold_batch_norm.cu</c>.</summary>
internal enum CudaElement
{
    /// <summary>IEEE single precision.</summary>
    Float32,

    /// <summary>IEEE half precision.</summary>
    Float16,

    /// <summary>The upper half of a single; kernels need sm_80.</summary>
    BFloat16,
}

internal static class CudaElements
{
    /// <summary>Bytes that one access moves at most.</summary>
    public const int VectorBytes = 16;

    public static int Bytes(this CudaElement element) => element == CudaElement.Float32 ? 4 : 2;

    /// <summary>Elements of 16 bytes.</summary>
    public static int PerVector(this CudaElement element) => VectorBytes / element.Bytes();

    /// <summary>The type's name in <c>types.cuh</c>.</summary>
    public static string KernelName(this CudaElement element) => element switch
    {
        CudaElement.Float32 => "f32",
        CudaElement.Float16 => "f16",
        _ => "bf16",
    };

    /// <summary>
    /// The first architecture whose kernels take the type: before sm_80 there is no bf16, before sm_75 fp16 is so slow that only fp32 is
    /// offered.
    /// </summary>
    public static ComputeCapability FirstArchitecture(this CudaElement element) => element switch
    {
        CudaElement.Float32 => new(6, 1),
        CudaElement.Float16 => new(7, 5),
        _ => new(8, 0),
    };
}
