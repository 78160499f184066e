using System.Security.Cryptography;
using System.Text;

namespace DwrSeg.Native.Cuda.Compilation;

/// <summary>
/// A compiled kernel as a file: magic, format version, key, length and SHA-256 of the content, content. Anything else is no entry.
/// </summary>
internal static class KernelEntry
{
    private const int HashBytes = 32;
    private const int HeaderBytes = 4 + sizeof(int) + HashBytes + sizeof(int) + HashBytes;
    private const int FormatVersion = 1;

    private static ReadOnlySpan<byte> Magic => "DWRK"u8;

    public static byte[] Write(KernelKey key, CompiledKernel kernel)
    {
        using var content = new MemoryStream();
        using (var writer = new BinaryWriter(content, Encoding.UTF8, leaveOpen: true))
        {
            writer.Write(kernel.LoweredName);
            writer.Write(kernel.ParameterBytes);
            writer.Write(kernel.Log);
            writer.Write(kernel.Image.Length);
            writer.Write(kernel.Image);
        }
        byte[] bytes = content.ToArray();
        using var file = new MemoryStream(HeaderBytes + bytes.Length);
        using (var writer = new BinaryWriter(file))
        {
            writer.Write(Magic);
            writer.Write(FormatVersion);
            writer.Write(key.Hash);
            writer.Write(bytes.Length);
            writer.Write(SHA256.HashData(bytes));
            writer.Write(bytes);
        }
        return file.ToArray();
    }

    /// <summary>The kernel; null where the file is cut short, changed, of another format, or another key's.</summary>
    public static CompiledKernel? Read(KernelKey key, byte[] file)
    {
        if (file.Length < HeaderBytes) return null;
        using var reader = new BinaryReader(new MemoryStream(file));
        if (!reader.ReadBytes(Magic.Length).AsSpan().SequenceEqual(Magic) || reader.ReadInt32() != FormatVersion) return null;
        if (!reader.ReadBytes(HashBytes).AsSpan().SequenceEqual(key.Hash) || reader.ReadInt32() != file.Length - HeaderBytes) return null;
        if (!reader.ReadBytes(HashBytes).AsSpan().SequenceEqual(SHA256.HashData(file.AsSpan(HeaderBytes)))) return null;
        // From here on the content is what Write wrote.
        string name = reader.ReadString();
        int parameterBytes = reader.ReadInt32();
        string log = reader.ReadString();
        return new CompiledKernel(reader.ReadBytes(reader.ReadInt32()), name, parameterBytes, log);
    }
}
