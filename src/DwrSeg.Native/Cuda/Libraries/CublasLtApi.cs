#pragma warning disable IDE1006 // the library's own names
using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>cuBLASLt's entry points (<c>cublasLt.h</c> of CUDA 11 to 13).</summary>
internal static unsafe partial class CublasLtApi
{
    private const string Library = NativeLibraries.CublasLt;

    [LibraryImport(Library)]
    public static partial nuint cublasLtGetVersion();

    [LibraryImport(Library)]
    public static partial int cublasLtCreate(out nint handle);

    [LibraryImport(Library)]
    public static partial int cublasLtDestroy(nint handle);

    [LibraryImport(Library)]
    public static partial int cublasLtMatmulDescCreate(out nint product, CublasLtCompute compute, CublasLtDataType scaleType);

    [LibraryImport(Library)]
    public static partial int cublasLtMatmulDescDestroy(nint product);

    [LibraryImport(Library)]
    public static partial int cublasLtMatmulDescSetAttribute(nint product, CublasLtProductAttribute attribute, void* value, nuint bytes);

    [LibraryImport(Library)]
    public static partial int cublasLtMatrixLayoutCreate(out nint layout, CublasLtDataType type, ulong rows, ulong columns, long leadingDimension);

    [LibraryImport(Library)]
    public static partial int cublasLtMatrixLayoutDestroy(nint layout);

    [LibraryImport(Library)]
    public static partial int cublasLtMatmulPreferenceCreate(out nint preference);

    [LibraryImport(Library)]
    public static partial int cublasLtMatmulPreferenceDestroy(nint preference);

    [LibraryImport(Library)]
    public static partial int cublasLtMatmulPreferenceSetAttribute(nint preference, CublasLtPreferenceAttribute attribute, void* value, nuint bytes);

    [LibraryImport(Library)]
    public static partial int cublasLtMatmulAlgoGetHeuristic(
        nint handle, nint product, nint a, nint b, nint c, nint d, nint preference, int requested, CublasLtHeuristic* results, out int returned);

    [LibraryImport(Library)]
    public static partial int cublasLtMatmulAlgoCheck(
        nint handle, nint product, nint a, nint b, nint c, nint d, CublasLtAlgorithm* algorithm, CublasLtHeuristic* result);

    [LibraryImport(Library)]
    public static partial int cublasLtMatmul(
        nint handle, nint product, float* alpha, CUdeviceptr a, nint aLayout, CUdeviceptr b, nint bLayout, float* beta, CUdeviceptr c, nint cLayout,
        CUdeviceptr d, nint dLayout, CublasLtAlgorithm* algorithm, CUdeviceptr workspace, nuint workspaceBytes, CUstream stream);
}
