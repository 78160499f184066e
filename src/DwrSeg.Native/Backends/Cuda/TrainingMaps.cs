using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>What the kernels of a training step take for granted of their maps: all of them are fp32.</summary>
internal static class TrainingMaps
{
    private static readonly bool[] Choices = [false, true];

    /// <summary>Channels that a thread moves at once: a vector, or where a slice allows none, one.</summary>
    public static IReadOnlyList<int> Widths { get; } = [CudaElement.Float32.PerVector(), 1];

    /// <summary>The same as kernels with a variant that adds to what is there have them.</summary>
    public static IEnumerable<(int Width, bool Accumulate)> WidthsAndAccumulate =>
        from width in Widths from accumulate in Choices select (width, accumulate);

    /// <summary>Checks a view as <see cref="DeviceMap.Validate"/> does, and its type.</summary>
    /// <exception cref="ArgumentException">It is malformed or not fp32; the message names it.</exception>
    public static void Validate(string name, in DeviceMap map)
    {
        map.Validate(name);
        if (map.Element != CudaElement.Float32) throw new ArgumentException($"{name}: {map} is not fp32, in which training computes.");
    }

    /// <summary>Checks that a view has another's images, rows and columns, and of its channels so many for one.</summary>
    /// <exception cref="ArgumentException">It has not; the message names it.</exception>
    public static void RequireSame(string name, in DeviceMap map, in DeviceMap expected, int multiplier = 1)
    {
        if ((map.N, map.H, map.W) != (expected.N, expected.H, expected.W) || (long)map.C * multiplier != expected.C)
        {
            string channels = multiplier == 1 ? "" : $", at {multiplier} channels for one";
            throw new ArgumentException($"{name}: {map} and {expected} differ in size{channels}.");
        }
    }

    /// <summary>Checks that there is an fp32 vector at every address.</summary>
    /// <exception cref="ArgumentException">One is missing or not on an element's alignment.</exception>
    public static void ValidateVectors(string name, params ReadOnlySpan<CUdeviceptr> vectors)
    {
        foreach (CUdeviceptr vector in vectors)
        {
            if (vector.Value == 0 || vector.Value % sizeof(float) != 0) throw new ArgumentException($"{name}: there is no fp32 vector at {vector}.");
        }
    }

    /// <summary>The definitions of a kernel that adds to what is there or writes.</summary>
    public static string Definitions(int width, bool accumulate) => $"WIDTH={width} ACCUMULATE={(accumulate ? 1 : 0)}";
}
