using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Libraries;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>
/// A convolution by cuDNN: <c>cudnnConvolutionBiasActivationForward</c>, or <c>cudnnConvolutionForward</c> where nothing but a sum into y follows.
/// 16-bit maps are multiplied on tensor cores; fp32 by fused multiply-adds, since the default from sm_80 on is TF32.
/// </summary>
internal sealed unsafe class CudnnConvolution : CudaWork, IDisposable
{
    // An algorithm that wants more is none for a network whose maps take less.
    private const long MostWorkspaceBytes = 256L << 20;
    private const int MostAlgorithms = 8;

    private readonly CudnnHandle _handle;
    private readonly LibraryWorkspace _workspace;
    private readonly LibraryConvolution _c;
    private readonly CudnnAlgorithm _algorithm;
    private readonly Descriptors _descriptors;
    private readonly nuint _workspaceBytes;

    /// <param name="handle">cuDNN on the device.</param>
    /// <param name="workspace">Where the call finds scratch memory.</param>
    /// <param name="c">The convolution. Where it has an epilogue it has a bias, which may be zeros: the fused call takes none without.</param>
    /// <param name="algorithm">One of <see cref="AlgorithmsFor"/>.</param>
    /// <exception cref="CudaException">cuDNN does not take these sizes or strides, or not with this algorithm.</exception>
    public CudnnConvolution(CudnnHandle handle, LibraryWorkspace workspace, in LibraryConvolution c, CudnnAlgorithm algorithm)
    {
        (_handle, _workspace, _c, _algorithm) = (handle, workspace, c, algorithm);
        if (IsFused(c) && c.Bias.Value == 0) throw new ArgumentException($"cuDNN, {c}: an epilogue goes with a bias.", nameof(c));
        (Bytes, Flops) = (c.Bytes, c.Flops);
        using ContextScope scope = handle.Context.Enter();
        ICudnn cudnn = handle.Cudnn;
        _descriptors = new Descriptors(cudnn, c);
        try
        {
            CudnnStatus.Check(cudnn, cudnn.GetConvolutionForwardWorkspaceSize(
                handle.Value, _descriptors.X.Value, _descriptors.Filter.Value, _descriptors.Convolution.Value, _descriptors.Y.Value, algorithm,
                out _workspaceBytes), c.HasSlices);
            workspace.Reserve((long)_workspaceBytes);
        }
        catch
        {
            _descriptors.Dispose();
            throw;
        }
    }

    public override string Call => IsFused(_c) ? "cudnnConvolutionBiasActivationForward" : "cudnnConvolutionForward";

    public override string Name => $"{Call} {_algorithm}, {_c}";

    public override ConvMaker Maker => ConvMaker.Cudnn;

    public override bool UsesTensorCores => _c.X.Element != CudaElement.Float32;

    /// <summary>
    /// Whether cuDNN's calls can give this: the fused one must not have z where x is (cuDNN's reference on
    /// <c>cudnnConvolutionBiasActivationForward</c>).
    /// </summary>
    public static bool CanExpress(in CudaConvolution c) =>
        LibraryConvolution.CanExpress(c) && (c.Residual is not { } residual || !LibraryConvolution.Overlap(residual, c.X));

    /// <summary>Whether more than a sum into y follows, so that the fused call is needed.</summary>
    public static bool IsFused(in LibraryConvolution c) => c.Bias.Value != 0 || c.Relu || (c.Added is { } added && added != c.Y);

    /// <summary>
    /// The algorithms that cuDNN offers for a convolution, in the order of its own guess (<c>cudnnGetConvolutionForwardAlgorithm_v7</c>); none
    /// where it does not take the sizes or strides. Without a ReLU the fused call takes one alone.
    /// </summary>
    public static IReadOnlyList<CudnnAlgorithm> AlgorithmsFor(CudnnHandle handle, in LibraryConvolution c)
    {
        using ContextScope scope = handle.Context.Enter();
        ICudnn cudnn = handle.Cudnn;
        CudnnAlgorithmPerformance* results = stackalloc CudnnAlgorithmPerformance[MostAlgorithms];
        int returned;
        try
        {
            using var descriptors = new Descriptors(cudnn, c);
            CudnnStatus.Check(cudnn, cudnn.GetConvolutionForwardAlgorithm(
                handle.Value, descriptors.X.Value, descriptors.Filter.Value, descriptors.Convolution.Value, descriptors.Y.Value, MostAlgorithms,
                out returned, results), c.HasSlices);
        }
        catch (CudaException e) when (e.Answer == LibraryAnswer.Refusal)
        {
            return [];
        }
        bool isRestricted = IsFused(c) && !c.Relu;
        var algorithms = new List<CudnnAlgorithm>();
        for (int i = 0; i < returned; i++)
        {
            if (results[i].Status != 0 || (long)results[i].Memory > MostWorkspaceBytes || algorithms.Contains(results[i].Algorithm)) continue;
            if (!isRestricted || results[i].Algorithm == CudnnAlgorithm.ImplicitPrecompGemm) algorithms.Add(results[i].Algorithm);
        }
        return algorithms;
    }

    public override void Launch(CudaStream stream, bool overlapsPrevious = false)
    {
        float one = 1, zero = 0;
        ICudnn cudnn = _handle.Cudnn;
        Descriptors d = _descriptors;
        using ContextScope scope = _handle.Context.Enter();
        lock (_handle.Gate)
        {
            nint handle = _handle.Use(stream);
            int status;
            if (IsFused(_c))
            {
                // The call wants a z in any case; a factor of zero leaves it unread.
                DeviceMap z = _c.Added ?? _c.Y;
                status = cudnn.ConvolutionBiasActivationForward(
                    handle, &one, d.X.Value, _c.X.Data, d.Filter.Value, _c.Weights, d.Convolution.Value, _algorithm, _workspace.Address, _workspaceBytes,
                    _c.Added is null ? &zero : &one, d.Z.Value, z.Data, d.Bias.Value, _c.Bias, d.Activation.Value, d.Y.Value, _c.Y.Data);
            }
            else
            {
                status = cudnn.ConvolutionForward(
                    handle, &one, d.X.Value, _c.X.Data, d.Filter.Value, _c.Weights, d.Convolution.Value, _algorithm, _workspace.Address, _workspaceBytes,
                    _c.Added is null ? &zero : &one, d.Y.Value, _c.Y.Data);
            }
            if (status != 0) throw CudnnStatus.Failure(cudnn, status, Call, Name, _c.HasSlices);
        }
    }

    public void Dispose() => _descriptors.Dispose();

    /// <summary>A view as cuDNN sees it: NHWC by its strides, a slice by a pixel stride beyond its channels.</summary>
    public static CudnnDescriptor DescriptorOf(ICudnn cudnn, CudnnDataType type, in DeviceMap map) => CudnnDescriptor.Tensor(
        cudnn, type, (map.N, map.C, map.H, map.W), (map.H * map.W * map.PixelStride, 1, map.W * map.PixelStride, map.PixelStride));

    private sealed class Descriptors : IDisposable
    {
        private readonly List<CudnnDescriptor> _all = [];

        public Descriptors(ICudnn cudnn, in LibraryConvolution c)
        {
            CudnnDataType type = c.CudnnType;
            try
            {
                X = Keep(DescriptorOf(cudnn, type, c.X));
                Y = Keep(DescriptorOf(cudnn, type, c.Y));
                Z = Keep(DescriptorOf(cudnn, type, c.Added ?? c.Y));
                Bias = Keep(CudnnDescriptor.Tensor(cudnn, type, (1, c.Y.C, 1, 1), (c.Y.C, 1, c.Y.C, c.Y.C)));
                Filter = Keep(CudnnDescriptor.Filter(cudnn, type, c.Y.C, c.Kernel, c.X.C));
                Convolution = Keep(CudnnDescriptor.Convolution(
                    cudnn, c.Kernel, c.Stride, c.X.Element == CudaElement.Float32 ? CudnnMathType.Fma : CudnnMathType.TensorOp));
                Activation = Keep(CudnnDescriptor.Activation(cudnn, c.Relu ? CudnnActivation.Relu : CudnnActivation.Identity));
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        public CudnnDescriptor X { get; }

        public CudnnDescriptor Y { get; }

        public CudnnDescriptor Z { get; }

        public CudnnDescriptor Bias { get; }

        public CudnnDescriptor Filter { get; }

        public CudnnDescriptor Convolution { get; }

        public CudnnDescriptor Activation { get; }

        public void Dispose()
        {
            foreach (CudnnDescriptor descriptor in _all) descriptor.Dispose();
        }

        private CudnnDescriptor Keep(CudnnDescriptor descriptor)
        {
            _all.Add(descriptor);
            return descriptor;
        }
    }
}
