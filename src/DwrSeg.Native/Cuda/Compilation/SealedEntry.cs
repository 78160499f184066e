using System.Security.Cryptography;

namespace DwrSeg.Native.Cuda.Compilation;

/// <summary>The bytes of a cache's file: magic, format version, key, length and SHA-256 of the content, content. Anything else is no entry.</summary>
internal static class SealedEntry
{
    private const int HashBytes = 32;
    private const int HeaderBytes = 4 + sizeof(int) + HashBytes + sizeof(int) + HashBytes;

    /// <param name="magic">Four bytes that tell the kind of entry.</param>
    /// <param name="version">The content's format.</param>
    /// <param name="key">The SHA-256 that the entry is kept under.</param>
    /// <param name="content">What it holds.</param>
    public static byte[] Seal(ReadOnlySpan<byte> magic, int version, ReadOnlySpan<byte> key, byte[] content)
    {
        using var file = new MemoryStream(HeaderBytes + content.Length);
        using (var writer = new BinaryWriter(file))
        {
            writer.Write(magic);
            writer.Write(version);
            writer.Write(key);
            writer.Write(content.Length);
            writer.Write(SHA256.HashData(content));
            writer.Write(content);
        }
        return file.ToArray();
    }

    /// <summary>The content; null where the file is cut short, changed, of another format, or another key's.</summary>
    public static byte[]? Open(ReadOnlySpan<byte> magic, int version, ReadOnlySpan<byte> key, byte[] file)
    {
        if (file.Length < HeaderBytes) return null;
        using var reader = new BinaryReader(new MemoryStream(file));
        if (!reader.ReadBytes(magic.Length).AsSpan().SequenceEqual(magic) || reader.ReadInt32() != version) return null;
        if (!reader.ReadBytes(HashBytes).AsSpan().SequenceEqual(key) || reader.ReadInt32() != file.Length - HeaderBytes) return null;
        if (!reader.ReadBytes(HashBytes).AsSpan().SequenceEqual(SHA256.HashData(file.AsSpan(HeaderBytes)))) return null;
        return file[HeaderBytes..];
    }
}
