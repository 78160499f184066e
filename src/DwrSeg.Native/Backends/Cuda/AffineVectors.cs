using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Checks of an affine map per channel: two fp32 vectors, or none.</summary>
internal static class AffineVectors
{
    public static void Validate(string kernel, CUdeviceptr scale, CUdeviceptr shift)
    {
        if (scale.Value == 0 != (shift.Value == 0) || scale.Value % 4 != 0 || shift.Value % 4 != 0)
            throw new ArgumentException($"{kernel}: scale ({scale}) and shift ({shift}) must be two fp32 vectors, or both 0.");
    }

    /// <summary>True where vectors of 16 bytes can be read from both.</summary>
    public static bool AreAligned(CUdeviceptr scale, CUdeviceptr shift) =>
        scale.Value % CudaElements.VectorBytes == 0 && shift.Value % CudaElements.VectorBytes == 0;
}
