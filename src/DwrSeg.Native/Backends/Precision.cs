namespace DwrSeg.Native.Backends;

/// <summary>How activations are stored and multiplied; sums are fp32.</summary>
internal enum Precision
{
    /// <summary>The device's own choice: fp16 on CUDA from sm_75 on, else fp32.</summary>
    Automatic,

    /// <summary>Exact fp32.</summary>
    Float32,

    /// <summary>IEEE half precision.</summary>
    Float16,

    /// <summary>The upper half of a single.</summary>
    BFloat16,
}
