using System.Text;

namespace DwrSeg.Native.Cuda.Compilation;

/// <summary>A compiled kernel as a file (<see cref="SealedEntry"/>).</summary>
internal static class KernelEntry
{
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
        return SealedEntry.Seal(Magic, FormatVersion, key.Hash, content.ToArray());
    }

    /// <summary>The kernel; null where the file is cut short, changed, of another format, or another key's.</summary>
    public static CompiledKernel? Read(KernelKey key, byte[] file)
    {
        if (SealedEntry.Open(Magic, FormatVersion, key.Hash, file) is not { } content) return null;
        // From here on the content is what Write wrote.
        using var reader = new BinaryReader(new MemoryStream(content));
        string name = reader.ReadString();
        int parameterBytes = reader.ReadInt32();
        string log = reader.ReadString();
        return new CompiledKernel(reader.ReadBytes(reader.ReadInt32()), name, parameterBytes, log);
    }
}
