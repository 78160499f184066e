using System.Collections.Immutable;

namespace DwrSeg.Native.Formats;

/// <summary>Element type of a tensor in a safetensors file, little-endian.</summary>
public enum SafetensorsDType
{
    /// <summary>One byte, 0 or 1.</summary>
    Bool,

    /// <summary>Unsigned 8-bit integer.</summary>
    U8,

    /// <summary>Signed 8-bit integer.</summary>
    I8,

    /// <summary>Unsigned 16-bit integer.</summary>
    U16,

    /// <summary>Signed 16-bit integer.</summary>
    I16,

    /// <summary>IEEE 754 binary16.</summary>
    F16,

    /// <summary>The upper half of an IEEE 754 binary32.</summary>
    BF16,

    /// <summary>Unsigned 32-bit integer.</summary>
    U32,

    /// <summary>Signed 32-bit integer.</summary>
    I32,

    /// <summary>IEEE 754 binary32.</summary>
    F32,

    /// <summary>Unsigned 64-bit integer.</summary>
    U64,

    /// <summary>Signed 64-bit integer.</summary>
    I64,

    /// <summary>IEEE 754 binary64.</summary>
    F64,
}

/// <summary>One tensor of a safetensors file.</summary>
/// <param name="Name">The tensor's name, for weights PyTorch's <c>state_dict</c> name.</param>
/// <param name="DType">Element type.</param>
/// <param name="Shape">Sizes, outermost first; empty for a scalar.</param>
/// <param name="Offset">Position of the first byte in the file.</param>
/// <param name="ByteLength">Number of bytes.</param>
public sealed record SafetensorsEntry(string Name, SafetensorsDType DType, ImmutableArray<long> Shape, long Offset, long ByteLength)
{
    /// <summary>Number of elements; 1 for a scalar.</summary>
    public long ElementCount => ByteLength / DType.Size;
}

/// <summary>Names and sizes of the element types.</summary>
public static class SafetensorsDTypes
{
    private static readonly (string Name, int Size)[] Table =
    [
        ("BOOL", 1), ("U8", 1), ("I8", 1), ("U16", 2), ("I16", 2), ("F16", 2), ("BF16", 2), ("U32", 4), ("I32", 4), ("F32", 4),
        ("U64", 8), ("I64", 8), ("F64", 8),
    ];

    extension(SafetensorsDType dtype)
    {
        /// <summary>Bytes per element.</summary>
        public int Size => Table[(int)dtype].Size;

        /// <summary>The type's name in a file's header, as <c>BF16</c>.</summary>
        public string HeaderName => Table[(int)dtype].Name;
    }

    internal static string KnownNames => string.Join(", ", Table.Select(row => row.Name));

    internal static bool TryParse(string name, out SafetensorsDType dtype)
    {
        int row = Array.FindIndex(Table, row => row.Name == name);
        dtype = (SafetensorsDType)Math.Max(row, 0);
        return row >= 0;
    }
}
