using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>
/// cuBLASLt, call for call: the seam through which everything reaches it. Implemented by the library, and by a stand-in that tests compute with.
/// </summary>
/// <remarks>
/// Each method is the library's call of the same name (<c>MatrixLayoutCreate</c> is <c>cublasLtMatrixLayoutCreate</c>) with its meaning and its
/// status; nothing is checked or thrown here. Matrices lie column by column. A handle may be used by several threads.
/// </remarks>
internal unsafe interface ICublasLt
{
    Version Version { get; }

    /// <summary>The library's file, for messages.</summary>
    string Location { get; }

    int Create(out nint handle);

    int Destroy(nint handle);

    int MatmulDescCreate(out nint product, CublasLtCompute compute, CublasLtDataType scaleType);

    int MatmulDescDestroy(nint product);

    int MatmulDescSetAttribute(nint product, CublasLtProductAttribute attribute, void* value, nuint bytes);

    /// <param name="layout">The new layout.</param>
    /// <param name="type">The values' type.</param>
    /// <param name="rows">Values of a column.</param>
    /// <param name="columns">Columns.</param>
    /// <param name="leadingDimension">Values from one column to the next.</param>
    int MatrixLayoutCreate(out nint layout, CublasLtDataType type, ulong rows, ulong columns, long leadingDimension);

    int MatrixLayoutDestroy(nint layout);

    int MatmulPreferenceCreate(out nint preference);

    int MatmulPreferenceDestroy(nint preference);

    int MatmulPreferenceSetAttribute(nint preference, CublasLtPreferenceAttribute attribute, void* value, nuint bytes);

    /// <summary>The library's guess at the fastest algorithms, best first.</summary>
    int MatmulAlgoGetHeuristic(
        nint handle, nint product, nint a, nint b, nint c, nint d, nint preference, int requested, CublasLtHeuristic* results, out int returned);

    /// <summary>Whether an algorithm fits the product on this device, and the workspace it needs. It does not look at alignment.</summary>
    int MatmulAlgoCheck(nint handle, nint product, nint a, nint b, nint c, nint d, CublasLtAlgorithm* algorithm, CublasLtHeuristic* result);

    /// <summary>D = epilogue(alpha · op(A) · op(B) + beta · C); D may be C where both lie alike. Factors are fp32 in host memory.</summary>
    int Matmul(
        nint handle, nint product, float* alpha, CUdeviceptr a, nint aLayout, CUdeviceptr b, nint bLayout, float* beta, CUdeviceptr c, nint cLayout,
        CUdeviceptr d, nint dLayout, CublasLtAlgorithm* algorithm, CUdeviceptr workspace, nuint workspaceBytes, CUstream stream);
}
