using DwrSeg.Native.Backends.Cuda;
using DwrSeg.Native.Tests.Cuda.Kernels;
using DwrSeg.PtxEmulator;
using DwrSeg.PtxEmulator.Memory;

namespace DwrSeg.Native.Tests.Cuda.Libraries;

/// <summary>
/// Rows of values on an emulated device as float64, for what stands in for a library. As strict as the emulator is with kernels: a read of what
/// nothing wrote, or of a tensor that died, fails.
/// </summary>
internal static class DeviceValues
{
    /// <summary>Rows of so many values, each so many values after the one before.</summary>
    public static double[] Read(DeviceMemory memory, string name, CudaElement element, ulong address, long rows, int length, long stride)
    {
        int size = element.Bytes();
        var values = new double[rows * length];
        var bytes = new byte[length * size];
        for (long row = 0; row < rows; row++)
        {
            ulong at = address + (ulong)(row * stride * size);
            if (!memory.IsWritten(at, (ulong)bytes.Length))
                throw new EmulatorException(FailureKind.UnwrittenRead, $"{name}: row {row} of {rows} at 0x{at:x} holds what nothing wrote, {memory.Describe(at)}");
            memory.CopyOut<byte>(bytes, at);
            for (int i = 0; i < length; i++) values[row * length + i] = ElementCode.Decode(element, bytes.AsSpan(i * size));
        }
        return values;
    }

    /// <summary>Writes such rows, each value rounded to the type.</summary>
    public static void Write(DeviceMemory memory, CudaElement element, ulong address, long rows, int length, long stride, double[] values)
    {
        int size = element.Bytes();
        var bytes = new byte[length * size];
        for (long row = 0; row < rows; row++)
        {
            for (int i = 0; i < length; i++) ElementCode.Encode(element, values[row * length + i], bytes.AsSpan(i * size));
            memory.CopyIn<byte>(address + (ulong)(row * stride * size), bytes);
        }
    }

    /// <summary>What a library leaves in the scratch memory that it was given; fails where it is not there.</summary>
    public static void Scribble(DeviceMemory memory, ulong address, ulong bytes)
    {
        if (bytes > 0) memory.Fill(address, 0xff, bytes);
    }
}
