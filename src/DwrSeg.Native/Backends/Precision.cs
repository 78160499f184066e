namespace DwrSeg.Native;

/// <summary>How activations are stored and multiplied; sums are fp32.</summary>
public enum Precision
{
    /// <summary>The device's own choice: fp16 on CUDA from sm_75 on, else fp32.</summary>
    Automatic,

    /// <summary>Exact fp32, never rounded to tf32.</summary>
    Float32,

    /// <summary>IEEE half precision; on CUDA from sm_75 on.</summary>
    Float16,

    /// <summary>bfloat16, the upper half of a single; on CUDA from sm_80 on.</summary>
    BFloat16,
}
