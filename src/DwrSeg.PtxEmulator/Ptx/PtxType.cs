namespace DwrSeg.PtxEmulator.Ptx;

/// <summary>Types of registers, variables and instructions.</summary>
internal enum PtxType
{
    Pred,
    B8,
    B16,
    B32,
    B64,
    B128,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    BF16,
    BF16x2,
    TF32,
    F32,
    F64,
}

internal static class PtxTypes
{
    private static readonly Dictionary<string,
        PtxType> ByName = Enum.GetValues<PtxType>().ToDictionary(t => t.ToString().ToLowerInvariant());

    public static bool TryParse(string name, out PtxType type) => ByName.TryGetValue(name, out type);

    /// <summary>Bytes of a value; 0 for a predicate.</summary>
    public static int Bytes(this PtxType type) => type switch
    {
        PtxType.Pred => 0,
        PtxType.B8 or PtxType.U8 or PtxType.S8 => 1,
        PtxType.B16 or PtxType.U16 or PtxType.S16 or PtxType.F16 or PtxType.BF16 => 2,
        PtxType.B64 or PtxType.U64 or PtxType.S64 or PtxType.F64 => 8,
        PtxType.B128 => 16,
        _ => 4,
    };

    public static bool IsSigned(this PtxType type) => type is PtxType.S8 or PtxType.S16 or PtxType.S32 or PtxType.S64;

    public static bool IsFloat(this PtxType type) => type >= PtxType.F16;

    public static bool IsInteger(this PtxType type) => type is >= PtxType.U8 and <= PtxType.S64;

    public static bool IsUntyped(this PtxType type) => type is >= PtxType.B8 and <= PtxType.B128;
}
