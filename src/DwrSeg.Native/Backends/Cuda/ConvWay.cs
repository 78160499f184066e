using System.Buffers;
using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Libraries;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Who computes a convolution.</summary>
internal enum ConvMaker
{
    /// <summary>This project's kernels.</summary>
    Native,
    Cudnn,
    CublasLt,
}

/// <summary>One way to compute a convolution. Its text is what a choice is remembered by.</summary>
/// <param name="Maker">Who.</param>
internal sealed record ConvWay(ConvMaker Maker)
{
    private const string PackedWord = "packed";

    /// <summary>This project's kernels, divided as their model says.</summary>
    public static ConvWay ByModel { get; } = new(ConvMaker.Native);

    /// <summary>Of a native one, the tile; null for the one that the model takes.</summary>
    public string? Tile { get; init; }

    /// <summary>Of cuDNN's.</summary>
    public CudnnAlgorithm Algorithm { get; init; }

    /// <summary>Of cuBLASLt's.</summary>
    public CublasLtAlgorithm Product { get; init; }

    /// <summary>Slices are copied to maps without gaps before and after, for a cuDNN that does not take their strides.</summary>
    public bool IsPacked { get; init; }

    /// <summary>The way of a text; null where it is none.</summary>
    public static ConvWay? Parse(string text)
    {
        string[] words = text.Split(' ');
        bool packed = words.Length == 3 && words[2] == PackedWord;
        return words switch
        {
            ["native"] => ByModel,
            ["native", var tile] => ByModel with { Tile = tile },
            ["cudnn", var name] when TryParse(name, out CudnnAlgorithm algorithm) => new ConvWay(ConvMaker.Cudnn) { Algorithm = algorithm },
            ["cudnn", var name, _] when packed && TryParse(name, out CudnnAlgorithm algorithm) =>
                new ConvWay(ConvMaker.Cudnn) { Algorithm = algorithm, IsPacked = true },
            ["cublasLt", var hex] when TryParse(hex, out CublasLtAlgorithm product) => new ConvWay(ConvMaker.CublasLt) { Product = product },
            _ => null,
        };
    }

    public override string ToString() => Maker switch
    {
        ConvMaker.Native => Tile is null ? "native" : $"native {Tile}",
        ConvMaker.Cudnn => $"cudnn {Algorithm}{(IsPacked ? $" {PackedWord}" : "")}",
        _ => $"cublasLt {Convert.ToHexStringLower(MemoryMarshal.AsBytes([Product]))}",
    };

    private static bool TryParse(string name, out CudnnAlgorithm algorithm) => Enum.TryParse(name, out algorithm) && Enum.IsDefined(algorithm);

    private static bool TryParse(string hex, out CublasLtAlgorithm algorithm)
    {
        algorithm = default;
        return Convert.FromHexString(hex, MemoryMarshal.AsBytes(new Span<CublasLtAlgorithm>(ref algorithm)), out _, out int written)
            == OperationStatus.Done && written == Marshal.SizeOf<CublasLtAlgorithm>();
    }
}
