using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>What cuBLASLt's calls on a device need; safe to share.</summary>
internal sealed class CublasLtHandle : IDisposable
{
    private readonly CudaHandle _handle;

    /// <summary>Makes a handle of the context (<c>cublasLtCreate</c>).</summary>
    /// <exception cref="CudaException">cuBLASLt can't be used on this device; the message says why.</exception>
    public CublasLtHandle(ICublasLt cublas, CudaContext context)
    {
        (Cublas, Context) = (cublas, context);
        using ContextScope scope = context.Enter();
        CublasLtStatus.Check(cublas, cublas.Create(out nint handle));
        _handle = new CudaHandle(
            context.Handle, handle, (_, value) => cublas.Destroy(value) == 0 ? CUresult.Success : CUresult.Unknown, awaitsDevice: true);
    }

    public ICublasLt Cublas { get; }

    public CudaContext Context { get; }

    public nint Value => _handle.Value;

    /// <summary>Waits for the device's work and gives the handle back.</summary>
    public void Dispose() => _handle.Dispose();
}

/// <summary>Something that cuBLASLt describes: a product, a matrix or a preference.</summary>
internal sealed unsafe class CublasLtDescriptor : LibraryDescriptor
{
    private CublasLtDescriptor(nint value, Func<nint, int> destroy)
        : base(value, destroy)
    {
    }

    /// <summary>A matrix whose columns lie <paramref name="leadingDimension"/> values apart.</summary>
    public static CublasLtDescriptor Matrix(ICublasLt cublas, CublasLtDataType type, long rows, long columns, long leadingDimension)
    {
        CublasLtStatus.Check(cublas, cublas.MatrixLayoutCreate(out nint value, type, (ulong)rows, (ulong)columns, leadingDimension));
        return new CublasLtDescriptor(value, cublas.MatrixLayoutDestroy);
    }

    /// <summary>A product of Aᵀ and B with fp32 sums, and what follows on it.</summary>
    /// <param name="cublas">The library.</param>
    /// <param name="epilogue">What follows.</param>
    /// <param name="bias">A vector of D's type where the epilogue has one.</param>
    public static CublasLtDescriptor Product(ICublasLt cublas, CublasLtEpilogue epilogue, CUdeviceptr bias)
    {
        CublasLtStatus.Check(cublas, cublas.MatmulDescCreate(out nint value, CublasLtCompute.Float32, CublasLtDataType.Float));
        CublasLtDescriptor descriptor = new CublasLtDescriptor(value, cublas.MatmulDescDestroy)
            .Set(cublas, CublasLtProductAttribute.TransposeA, (int)CublasLtOperation.Transpose)
            .Set(cublas, CublasLtProductAttribute.TransposeB, (int)CublasLtOperation.None)
            .Set(cublas, CublasLtProductAttribute.Epilogue, (uint)epilogue);
        return bias.Value == 0 ? descriptor : descriptor.Set(cublas, CublasLtProductAttribute.BiasPointer, bias.Value);
    }

    /// <summary>What algorithms may take for granted.</summary>
    /// <param name="cublas">The library.</param>
    /// <param name="workspaceBytes">The most workspace.</param>
    /// <param name="alignments">Bytes that the addresses of A, B, C and D are multiples of.</param>
    public static CublasLtDescriptor Preference(ICublasLt cublas, ulong workspaceBytes, (uint A, uint B, uint C, uint D) alignments)
    {
        CublasLtStatus.Check(cublas, cublas.MatmulPreferenceCreate(out nint value));
        return new CublasLtDescriptor(value, cublas.MatmulPreferenceDestroy)
            .Set(cublas, CublasLtPreferenceAttribute.MaxWorkspaceBytes, workspaceBytes)
            .Set(cublas, CublasLtPreferenceAttribute.MinAlignmentA, alignments.A)
            .Set(cublas, CublasLtPreferenceAttribute.MinAlignmentB, alignments.B)
            .Set(cublas, CublasLtPreferenceAttribute.MinAlignmentC, alignments.C)
            .Set(cublas, CublasLtPreferenceAttribute.MinAlignmentD, alignments.D);
    }

    private CublasLtDescriptor Set<T>(ICublasLt cublas, CublasLtProductAttribute attribute, T attributeValue)
        where T : unmanaged =>
        Checked(cublas, cublas.MatmulDescSetAttribute(handle, attribute, &attributeValue, (nuint)sizeof(T)), "cublasLtMatmulDescSetAttribute", attribute);

    private CublasLtDescriptor Set<T>(ICublasLt cublas, CublasLtPreferenceAttribute attribute, T attributeValue)
        where T : unmanaged =>
        Checked(
            cublas, cublas.MatmulPreferenceSetAttribute(handle, attribute, &attributeValue, (nuint)sizeof(T)), "cublasLtMatmulPreferenceSetAttribute",
            attribute);

    // Where the library refuses a value, the descriptor is given back.
    private CublasLtDescriptor Checked(ICublasLt cublas, int status, string call, Enum attribute)
    {
        if (status == 0) return this;
        Dispose();
        throw CublasLtStatus.Failure(cublas, status, call, attribute.ToString());
    }
}
