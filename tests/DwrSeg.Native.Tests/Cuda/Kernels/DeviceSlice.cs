using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Tests.Backends.Cpu;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Kernels;

/// <summary>
/// A channel slice in device memory amid NaN: neighbouring channels, guards in front and behind, and the slice itself until it is filled.
/// A read outside the slice makes the result NaN, a write outside is found by <see cref="Read"/>.
/// </summary>
internal sealed class DeviceSlice : IDisposable
{
    private const byte Poison = 0xff;

    private readonly KernelDevice _device;
    private readonly CudaDeviceVariable<byte> _memory;
    private readonly int _start;

    /// <param name="device">Where.</param>
    /// <param name="element">The type.</param>
    /// <param name="shape">Images, rows, columns, channels.</param>
    /// <param name="before">Channels of the tensor in front of the slice.</param>
    /// <param name="after">Channels behind it.</param>
    /// <param name="shift">Elements that the tensor lies off a multiple of 16 bytes.</param>
    public DeviceSlice(
        KernelDevice device, CudaElement element, (int N, int H, int W, int C) shape, int before = 0, int after = 0, int shift = 0)
    {
        const int Guard = 256;
        int stride = before + shape.C + after;
        long elements = (long)shape.N * shape.H * shape.W * stride;
        _device = device;
        _start = Guard + shift * element.Bytes();
        _memory = new CudaDeviceVariable<byte>(device.Context, elements * element.Bytes() + 2 * Guard + CudaElements.VectorBytes);
        var whole = new DeviceMap(_memory.DevicePointer + (ulong)_start, element, shape.N, shape.H, shape.W, stride, stride);
        Map = whole.Slice(before, shape.C);
        _start += before * element.Bytes();
        Write([]);
    }

    public DeviceMap Map { get; }

    /// <summary>A slice that is aligned or not, with neighbours or without.</summary>
    public static DeviceSlice Random(Random random, KernelDevice device, CudaElement element, (int N, int H, int W, int C) shape)
    {
        int vector = element.PerVector();
        return random.Next(3) switch
        {
            0 => new DeviceSlice(device, element, shape),
            1 => new DeviceSlice(device, element, shape, random.Next(3) * vector, random.Next(3) * vector),
            _ => new DeviceSlice(device, element, shape, random.Next(20), random.Next(20), random.Next(8)),
        };
    }

    /// <summary>A slice on whole vectors, with neighbours or without.</summary>
    public static DeviceSlice RandomOnVectors(Random random, KernelDevice device, CudaElement element, (int N, int H, int W, int C) shape)
    {
        int vector = element.PerVector();
        int rest = (vector - shape.C % vector) % vector;
        return random.Next(2) == 0
            ? new DeviceSlice(device, element, shape)
            : new DeviceSlice(device, element, shape, random.Next(3) * vector, rest + random.Next(3) * vector);
    }

    /// <summary>Fills the slice with random values that its type holds exactly, and gives them.</summary>
    public Doubles Randomise(Random random, double magnitude = 1)
    {
        Doubles values = new(Map.N, Map.H, Map.W, Map.C);
        for (int i = 0; i < values.Data.Length; i++)
            values.Data[i] = ElementCode.Round(Map.Element, (random.NextDouble() * 2 - 1) * magnitude);
        Write(values.Data);
        return values;
    }

    /// <summary>Fills the slice with values in the order n, y, x, c; with none, with poison.</summary>
    public void Write(ReadOnlySpan<double> values)
    {
        var bytes = new byte[_memory.Size];
        Array.Fill(bytes, Poison);
        for (int i = 0; i < values.Length; i++) ElementCode.Encode(Map.Element, values[i], bytes.AsSpan(Offset(i)));
        _memory.CopyToDevice(bytes, _device.Stream);
    }

    /// <summary>The slice's values; fails where anything beside the slice was written.</summary>
    public Doubles Read(string name)
    {
        byte[] bytes = _memory.ToArray(_device.Stream);
        Doubles values = new(Map.N, Map.H, Map.W, Map.C);
        for (int i = 0; i < values.Data.Length; i++)
        {
            Span<byte> at = bytes.AsSpan(Offset(i), Map.Element.Bytes());
            values.Data[i] = ElementCode.Decode(Map.Element, at);
            at.Fill(Poison);
        }
        int strayed = bytes.AsSpan().IndexOfAnyExcept(Poison);
        if (strayed >= 0) Assert.Fail($"{name}: byte {strayed - _start} from the start of {Map} was written.");
        return values;
    }

    /// <summary>
    /// Every value lies within one rounding to the slice's type of a value that differs from the expected one by at most
    /// <paramref name="error"/>, the error of fp32 arithmetic.
    /// </summary>
    public void AssertClose(string name, Doubles expected, double error)
    {
        double[] actual = Read(name).Data;
        for (int i = 0; i < actual.Length; i++)
        {
            double wanted = expected.Data[i], allowed = error + ElementCode.RoundingError(Map.Element, Math.Abs(wanted) + error);
            if (!(Math.Abs(actual[i] - wanted) <= allowed))
                Assert.Fail($"{name}: element {i} of {Map} is {actual[i]:R}, expected {wanted:R} (tolerance {allowed:G3}).");
        }
    }

    public void Dispose() => _memory.Dispose();

    private int Offset(int index) => _start + (index / Map.C * Map.PixelStride + index % Map.C) * Map.Element.Bytes();
}

/// <summary>Values in the types of device memory.</summary>
internal static class ElementCode
{
    public static void Encode(CudaElement element, double value, Span<byte> to)
    {
        if (element == CudaElement.Float32) BitConverter.TryWriteBytes(to, (float)value);
        else if (element == CudaElement.Float16) BitConverter.TryWriteBytes(to, (Half)value);
        else BitConverter.TryWriteBytes(to, ToBFloat16((float)value));
    }

    public static double Decode(CudaElement element, ReadOnlySpan<byte> from) => element switch
    {
        CudaElement.Float32 => BitConverter.ToSingle(from),
        CudaElement.Float16 => (double)BitConverter.ToHalf(from),
        _ => BitConverter.UInt32BitsToSingle((uint)BitConverter.ToUInt16(from) << 16),
    };

    public static double Round(CudaElement element, double value)
    {
        Span<byte> bytes = stackalloc byte[4];
        Encode(element, value, bytes);
        return Decode(element, bytes);
    }

    /// <summary>Half a unit in the last place of a magnitude: 24, 11 or 8 significant bits; for tiny ones of the smallest denormal.</summary>
    public static double RoundingError(CudaElement element, double magnitude) => element switch
    {
        CudaElement.Float32 => Math.ScaleB(magnitude, -24),
        CudaElement.Float16 => Math.Max(Math.ScaleB(magnitude, -11), Math.ScaleB(1, -25)),
        _ => Math.ScaleB(magnitude, -8),
    };

    // To the nearest, ties to even; NaN keeps being one.
    private static ushort ToBFloat16(float value)
    {
        if (float.IsNaN(value)) return 0x7fc0;
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return (ushort)(bits + 0x7fff + (bits >> 16 & 1) >> 16);
    }
}
