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

    /// <summary>Checks that a view has another's images, rows, columns and channels.</summary>
    /// <exception cref="ArgumentException">It has not; the message names it.</exception>
    public static void RequireSame(string name, in DeviceMap map, in DeviceMap expected)
    {
        if ((map.N, map.H, map.W, map.C) != (expected.N, expected.H, expected.W, expected.C))
            throw new ArgumentException($"{name}: {map} and {expected} differ in size.");
    }

    /// <summary>The definitions of a kernel that adds to what is there or writes.</summary>
    public static string Definitions(int width, bool accumulate) => $"WIDTH={width} ACCUMULATE={(accumulate ? 1 : 0)}";
}
