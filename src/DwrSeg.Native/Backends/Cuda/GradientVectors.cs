using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Checks that the kernels of a training step share; they compute in fp32 alone.</summary>
internal static class GradientVectors
{
    /// <summary>Checks that there is an fp32 vector at every address.</summary>
    /// <exception cref="ArgumentException">One is missing or not on an element's alignment.</exception>
    public static void Validate(string kernel, params ReadOnlySpan<CUdeviceptr> vectors)
    {
        foreach (CUdeviceptr vector in vectors)
        {
            if (vector.Value == 0 || vector.Value % sizeof(float) != 0)
                throw new ArgumentException($"{kernel}: there is no fp32 vector at {vector}.");
        }
    }

    /// <summary>What <see cref="DeviceMap.Validate"/> checks, and that the map is fp32.</summary>
    /// <exception cref="ArgumentException">The view is malformed or of another type.</exception>
    public static void ValidateFloat32(this in DeviceMap map, string name)
    {
        map.Validate(name);
        if (map.Element != CudaElement.Float32) throw new ArgumentException($"{name}: {map} is not fp32, and training computes in fp32.");
    }

    /// <summary>Checks that two maps have the same pixels, and <paramref name="multiplier"/> channels of y for one of x.</summary>
    /// <exception cref="ArgumentException">They have not.</exception>
    public static void RequireSame(string kernel, in DeviceMap x, in DeviceMap y, int multiplier = 1)
    {
        if ((x.N, x.H, x.W) != (y.N, y.H, y.W) || (long)x.C * multiplier != y.C)
            throw new ArgumentException($"{kernel}: {x} and {y} differ in size{(multiplier == 1 ? "" : $", at {multiplier} channels for one")}.");
    }
}
