using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>cuBLASLt 11 to 13, where it is there.</summary>
internal sealed unsafe class CublasLtLibrary : ICublasLt
{
    private CublasLtLibrary(string location, Version version) => (Location, Version) = (location, version);

    public string Location { get; }

    public Version Version { get; }

    /// <summary>Finds it; null and a reason where there is none that can be used.</summary>
    public static CublasLtLibrary? TryOpen(out string problem) => TryOpen(NativeLibraries.Find(NativeLibraries.CublasLt), out problem);

    /// <summary>What a search for it found; null and a reason where that can't be used.</summary>
    internal static CublasLtLibrary? TryOpen(NativeLibraryResult library, out string problem)
    {
        problem = library.Handle == 0 ? library.Problem : NativeLibraries.Lacking(library, typeof(CublasLtApi), "cuBLAS 11, 12 or 13");
        return problem.Length > 0 ? null : new CublasLtLibrary(library.Location, VersionOf((long)CublasLtApi.cublasLtGetVersion()));
    }

    /// <summary>1000 · major + 100 · minor up to 11, 10000 · major + 100 · minor from 12 on.</summary>
    internal static Version VersionOf(long number)
    {
        long unit = number < 120000 ? 1000 : 10000;
        // cuBLASLt 11 already used five digits before the patch: 110601 is 11.6.1.
        if (number is >= 100000 and < 120000) unit = 10000;
        return new Version((int)(number / unit), (int)(number % unit / 100), (int)(number % 100));
    }

    public int Create(out nint handle) => CublasLtApi.cublasLtCreate(out handle);

    public int Destroy(nint handle) => CublasLtApi.cublasLtDestroy(handle);

    public int MatmulDescCreate(out nint product, CublasLtCompute compute, CublasLtDataType scaleType) =>
        CublasLtApi.cublasLtMatmulDescCreate(out product, compute, scaleType);

    public int MatmulDescDestroy(nint product) => CublasLtApi.cublasLtMatmulDescDestroy(product);

    public int MatmulDescSetAttribute(nint product, CublasLtProductAttribute attribute, void* value, nuint bytes) =>
        CublasLtApi.cublasLtMatmulDescSetAttribute(product, attribute, value, bytes);

    public int MatrixLayoutCreate(out nint layout, CublasLtDataType type, ulong rows, ulong columns, long leadingDimension) =>
        CublasLtApi.cublasLtMatrixLayoutCreate(out layout, type, rows, columns, leadingDimension);

    public int MatrixLayoutDestroy(nint layout) => CublasLtApi.cublasLtMatrixLayoutDestroy(layout);

    public int MatmulPreferenceCreate(out nint preference) => CublasLtApi.cublasLtMatmulPreferenceCreate(out preference);

    public int MatmulPreferenceDestroy(nint preference) => CublasLtApi.cublasLtMatmulPreferenceDestroy(preference);

    public int MatmulPreferenceSetAttribute(nint preference, CublasLtPreferenceAttribute attribute, void* value, nuint bytes) =>
        CublasLtApi.cublasLtMatmulPreferenceSetAttribute(preference, attribute, value, bytes);

    public int MatmulAlgoGetHeuristic(
        nint handle, nint product, nint a, nint b, nint c, nint d, nint preference, int requested, CublasLtHeuristic* results, out int returned) =>
        CublasLtApi.cublasLtMatmulAlgoGetHeuristic(handle, product, a, b, c, d, preference, requested, results, out returned);

    public int MatmulAlgoCheck(nint handle, nint product, nint a, nint b, nint c, nint d, CublasLtAlgorithm* algorithm, CublasLtHeuristic* result) =>
        CublasLtApi.cublasLtMatmulAlgoCheck(handle, product, a, b, c, d, algorithm, result);

    public int Matmul(
        nint handle, nint product, float* alpha, CUdeviceptr a, nint aLayout, CUdeviceptr b, nint bLayout, float* beta, CUdeviceptr c, nint cLayout,
        CUdeviceptr d, nint dLayout, CublasLtAlgorithm* algorithm, CUdeviceptr workspace, nuint workspaceBytes, CUstream stream) =>
        CublasLtApi.cublasLtMatmul(
            handle, product, alpha, a, aLayout, b, bLayout, beta, c, cLayout, d, dLayout, algorithm, workspace, workspaceBytes, stream);
}
