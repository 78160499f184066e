using System.Buffers.Binary;
using System.Text;
using DwrSeg.Native.Formats;

namespace DwrSeg.Native.Tests.Formats;

/// <summary>Safetensors bytes from a header written out by hand.</summary>
internal static class RawSafetensors
{
    public static byte[] Build(string header, int dataBytes) => Build(Encoding.UTF8.GetBytes(header), new byte[dataBytes]);

    public static byte[] Build(ReadOnlySpan<byte> header, ReadOnlySpan<byte> data)
    {
        byte[] file = new byte[8 + header.Length + data.Length];
        BinaryPrimitives.WriteInt64LittleEndian(file, header.Length);
        header.CopyTo(file.AsSpan(8));
        data.CopyTo(file.AsSpan(8 + header.Length));
        return file;
    }

    public static string Tensor(string name, string dtype, string shape, string offsets) =>
        $$$"""{"{{{name}}}":{"dtype":"{{{dtype}}}","shape":{{{shape}}},"data_offsets":{{{offsets}}}}}""";

    public static byte[] Written(SafetensorsWriter writer)
    {
        using MemoryStream stream = new();
        writer.WriteTo(stream);
        return stream.ToArray();
    }
}
