using System.Numerics;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Cuda.Libraries;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// A 1x1 convolution of stride 1 by <c>cublasLtMatmul</c>. Column by column, as the library counts, a map is a matrix of channels x pixels whose
/// columns lie a pixel stride apart, so slices cost nothing; Y = Wᵀ·X with W of inputs x outputs. The residual is C, with a factor of one; the
/// bias, one value a row, and the ReLU are the epilogue.
/// </summary>
internal sealed unsafe class CublasLtProduct : CudaWork, IDisposable
{
    // Algorithms that are asked for.
    private const int MostAlgorithms = 4;

    // What NVIDIA recommends for sm_90; older devices need less and then ask for less.
    private const ulong MostWorkspaceBytes = 32ul << 20;

    private readonly CublasLtHandle _handle;
    private readonly LibraryWorkspace _workspace;
    private readonly LibraryConvolution _c;
    private readonly CublasLtAlgorithm _algorithm;
    private readonly Descriptors _descriptors;
    private readonly nuint _workspaceBytes;

    /// <param name="handle">cuBLASLt on the device.</param>
    /// <param name="workspace">Where the call finds scratch memory.</param>
    /// <param name="c">The convolution, 1x1 and of stride 1.</param>
    /// <param name="algorithm">One of <see cref="AlgorithmsFor"/>, perhaps of an earlier process.</param>
    /// <exception cref="CudaException">cuBLASLt does not take these sizes, or not with this algorithm.</exception>
    public CublasLtProduct(CublasLtHandle handle, LibraryWorkspace workspace, in LibraryConvolution c, CublasLtAlgorithm algorithm)
    {
        (_handle, _workspace, _c, _algorithm) = (handle, workspace, c, algorithm);
        (Bytes, Flops) = (c.Bytes, c.Flops);
        using ContextScope scope = handle.Context.Enter();
        _descriptors = new Descriptors(handle.Cublas, c);
        try
        {
            _workspaceBytes = _descriptors.Check(handle, algorithm);
            workspace.Reserve((long)_workspaceBytes);
        }
        catch
        {
            _descriptors.Dispose();
            throw;
        }
    }

    public override string Call => "cublasLtMatmul";

    // The bytes are the library's own; their first word may tell its algorithms for a product apart.
    public override string Name => $"{Call} {_algorithm.Data0:x}, {_c}";

    public override ConvMaker Maker => ConvMaker.CublasLt;

    public override bool UsesTensorCores => _c.X.Element != CudaElement.Float32;

    /// <summary>Whether the library's call can give this.</summary>
    public static bool CanExpress(in CudaConvolution c) =>
        c is { Kernel: 1, Stride: 1 } && LibraryConvolution.CanExpress(c);

    /// <summary>The algorithms that the library offers, best guess first; none where it does not take the sizes, strides or alignments.</summary>
    public static IReadOnlyList<CublasLtAlgorithm> AlgorithmsFor(CublasLtHandle handle, in LibraryConvolution c)
    {
        using ContextScope scope = handle.Context.Enter();
        using var descriptors = new Descriptors(handle.Cublas, c);
        return descriptors.Algorithms(handle);
    }

    public override void Launch(CudaStream stream, bool overlapsPrevious = false)
    {
        float one = 1, zero = 0;
        CublasLtAlgorithm algorithm = _algorithm;
        Descriptors d = _descriptors;
        DeviceMap added = _c.Added ?? _c.Y;
        using ContextScope scope = _handle.Context.Enter();
        int status = _handle.Cublas.Matmul(
            _handle.Value, d.Product.Value, &one, _c.Weights, d.Weights.Value, _c.X.Data, d.X.Value, _c.Added is null ? &zero : &one, added.Data,
            d.Added.Value, _c.Y.Data, d.Y.Value, &algorithm, _workspace.Address, _workspaceBytes, stream.Stream);
        if (status != 0) throw CublasLtStatus.Failure(_handle.Cublas, status, Call, Name);
    }

    public void Dispose() => _descriptors.Dispose();

    private sealed class Descriptors : IDisposable
    {
        private readonly List<CublasLtDescriptor> _all = [];

        public Descriptors(ICublasLt cublas, in LibraryConvolution c)
        {
            CublasLtDataType type = c.CublasLtType;
            DeviceMap added = c.Added ?? c.Y;
            CublasLtEpilogue epilogue = (c.Relu, c.Bias.Value != 0) switch
            {
                (false, false) => CublasLtEpilogue.Default,
                (true, false) => CublasLtEpilogue.Relu,
                (false, true) => CublasLtEpilogue.Bias,
                _ => CublasLtEpilogue.ReluBias,
            };
            try
            {
                Product = Keep(CublasLtDescriptor.Product(cublas, epilogue, c.Bias));
                Weights = Keep(CublasLtDescriptor.Matrix(cublas, type, c.X.C, c.Y.C, c.X.C));
                X = Keep(CublasLtDescriptor.Matrix(cublas, type, c.X.C, c.X.Pixels, c.X.PixelStride));
                Added = Keep(CublasLtDescriptor.Matrix(cublas, type, c.Y.C, c.Y.Pixels, added.PixelStride));
                Y = Keep(CublasLtDescriptor.Matrix(cublas, type, c.Y.C, c.Y.Pixels, c.Y.PixelStride));
                Preference = Keep(CublasLtDescriptor.Preference(
                    cublas, MostWorkspaceBytes, (AlignmentOf(c.Weights), AlignmentOf(c.X.Data), AlignmentOf(added.Data), AlignmentOf(c.Y.Data))));
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        public CublasLtDescriptor Product { get; }

        public CublasLtDescriptor Weights { get; }

        public CublasLtDescriptor X { get; }

        public CublasLtDescriptor Added { get; }

        public CublasLtDescriptor Y { get; }

        public CublasLtDescriptor Preference { get; }

        /// <summary>The algorithms that can do it.</summary>
        public IReadOnlyList<CublasLtAlgorithm> Algorithms(CublasLtHandle handle)
        {
            ICublasLt cublas = handle.Cublas;
            CublasLtHeuristic* results = stackalloc CublasLtHeuristic[MostAlgorithms];
            int status = cublas.MatmulAlgoGetHeuristic(
                handle.Value, Product.Value, Weights.Value, X.Value, Added.Value, Y.Value, Preference.Value, MostAlgorithms, results, out int returned);
            if (status != 0)
            {
                CudaException failure = CublasLtStatus.Failure(cublas, status, "cublasLtMatmulAlgoGetHeuristic");
                if (failure.Answer == LibraryAnswer.Refusal) return [];
                throw failure;
            }
            var usable = new List<CublasLtAlgorithm>();
            for (int i = 0; i < returned; i++)
            {
                if (results[i].State == 0) usable.Add(results[i].Algorithm);
            }
            return usable;
        }

        /// <summary>The workspace that an algorithm needs.</summary>
        /// <exception cref="CudaException">It can't do this.</exception>
        public nuint Check(CublasLtHandle handle, CublasLtAlgorithm algorithm)
        {
            ICublasLt cublas = handle.Cublas;
            CublasLtHeuristic result = default;
            CublasLtStatus.Check(cublas, cublas.MatmulAlgoCheck(
                handle.Value, Product.Value, Weights.Value, X.Value, Added.Value, Y.Value, &algorithm, &result));
            CublasLtStatus.Check(cublas, result.State, "MatmulAlgoCheck");
            return result.WorkspaceBytes;
        }

        public void Dispose()
        {
            foreach (CublasLtDescriptor descriptor in _all) descriptor.Dispose();
        }

        // Algorithms may take 256 bytes for granted unless told otherwise. Never more than vectors need is promised, so that the memory in which
        // algorithms are timed and the memory in which they run get the same ones.
        private static uint AlignmentOf(CUdeviceptr address) => 1u << Math.Min(4, BitOperations.TrailingZeroCount(address.Value));

        private CublasLtDescriptor Keep(CublasLtDescriptor descriptor)
        {
            _all.Add(descriptor);
            return descriptor;
        }
    }
}
