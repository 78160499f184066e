using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace DwrSeg.Native.Cuda.Compilation;

/// <summary>SHA-256 over everything that a compiled kernel depends on.</summary>
internal sealed class KernelKey
{
    private KernelKey(byte[] hash) => Hash = hash;

    public byte[] Hash { get; }

    /// <summary>The key of a compilation: the same arguments give the same machine code.</summary>
    public static KernelKey Of(
        KernelSource source, string text, IReadOnlyList<(string Name, string Text)> headers, NvrtcTarget target, Version compiler)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Add(source.File);
        Add(source.Name);
        Add(text);
        AddCount(headers.Count);
        foreach ((string name, string header) in headers)
        {
            Add(name);
            Add(header);
        }
        string[] options = source.CommandLine;
        AddCount(options.Length);
        foreach (string option in options) Add(option);
        Add(target.Option);
        Add(compiler.ToString());
        return new KernelKey(hash.GetHashAndReset());

        // With its length before it, a field can't run over into the next.
        void Add(string field)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(field);
            AddCount(bytes.Length);
            hash.AppendData(bytes);
        }

        void AddCount(int count)
        {
            Span<byte> bytes = stackalloc byte[sizeof(int)];
            BinaryPrimitives.WriteInt32LittleEndian(bytes, count);
            hash.AppendData(bytes);
        }
    }

    public override string ToString() => Convert.ToHexStringLower(Hash);
}
