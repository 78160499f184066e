using System.Runtime.InteropServices;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>fp32 values of the host to and from the types of device memory.</summary>
internal static class ElementValues
{
    /// <summary>Rounds to nearest, ties to even.</summary>
    public static void Encode(ReadOnlySpan<float> values, Span<byte> bytes, CudaElement element)
    {
        if (element == CudaElement.Float32)
        {
            MemoryMarshal.AsBytes(values).CopyTo(bytes);
            return;
        }
        Span<ushort> words = MemoryMarshal.Cast<byte, ushort>(bytes);
        for (int i = 0; i < values.Length; i++)
            words[i] = element == CudaElement.Float16 ? BitConverter.HalfToUInt16Bits((Half)values[i]) : ToBFloat16(values[i]);
    }

    public static void Decode(ReadOnlySpan<byte> bytes, Span<float> values, CudaElement element)
    {
        if (element == CudaElement.Float32)
        {
            MemoryMarshal.Cast<byte, float>(bytes).CopyTo(values);
            return;
        }
        ReadOnlySpan<ushort> words = MemoryMarshal.Cast<byte, ushort>(bytes);
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = element == CudaElement.Float16
                ? (float)BitConverter.UInt16BitsToHalf(words[i]) : BitConverter.UInt32BitsToSingle((uint)words[i] << 16);
        }
    }

    private static ushort ToBFloat16(float value)
    {
        const ushort QuietNaN = 0x7fc0;
        if (float.IsNaN(value)) return QuietNaN;
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return (ushort)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
}
