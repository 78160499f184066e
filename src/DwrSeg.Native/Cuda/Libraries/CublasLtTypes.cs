using System.Runtime.InteropServices;

namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>How values lie in memory (<c>cudaDataType_t</c>): those that this project uses.</summary>
internal enum CublasLtDataType
{
    Float = 0,
    Half = 2,
    BFloat16 = 14,
}

/// <summary>What sums are kept in (<c>cublasComputeType_t</c>).</summary>
internal enum CublasLtCompute
{
    /// <summary>fp32, of fp32 factors exactly: TF32 has a number of its own.</summary>
    Float32 = 68,
}

/// <summary>Whether a matrix is transposed (<c>cublasOperation_t</c>).</summary>
internal enum CublasLtOperation
{
    None = 0,
    Transpose = 1,
}

/// <summary>What is done to a product on its way out (<c>cublasLtEpilogue_t</c>).</summary>
internal enum CublasLtEpilogue
{
    Default = 1,
    Relu = 2,
    Bias = 4,
    ReluBias = 6,
}

/// <summary>Attributes of a product (<c>cublasLtMatmulDescAttributes_t</c>).</summary>
internal enum CublasLtProductAttribute
{
    /// <summary>int32, <see cref="CublasLtOperation"/>.</summary>
    TransposeA = 3,

    /// <summary>int32, <see cref="CublasLtOperation"/>.</summary>
    TransposeB = 4,

    /// <summary>uint32, <see cref="CublasLtEpilogue"/>.</summary>
    Epilogue = 7,

    /// <summary>A device address: as many values of D's type as D has rows.</summary>
    BiasPointer = 8,
}

/// <summary>Attributes of a preference (<c>cublasLtMatmulPreferenceAttributes_t</c>).</summary>
internal enum CublasLtPreferenceAttribute
{
    /// <summary>uint64; 0 unless set.</summary>
    MaxWorkspaceBytes = 1,

    /// <summary>uint32; 256 unless set, as of the three after it.</summary>
    MinAlignmentA = 5,
    MinAlignmentB = 6,
    MinAlignmentC = 7,
    MinAlignmentD = 8,
}

/// <summary><c>cublasLtMatmulAlgo_t</c>: 64 bytes that only the library understands.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct CublasLtAlgorithm
{
    public ulong Data0, Data1, Data2, Data3, Data4, Data5, Data6, Data7;
}

/// <summary><c>cublasLtMatmulHeuristicResult_t</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CublasLtHeuristic
{
    public CublasLtAlgorithm Algorithm;
    public nuint WorkspaceBytes;

    /// <summary>0 where the algorithm can do it.</summary>
    public int State;

    public float Waves;
    public int Reserved0, Reserved1, Reserved2, Reserved3;
}
