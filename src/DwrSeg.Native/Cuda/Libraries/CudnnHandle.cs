using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>What cuDNN's calls on a device need; safe to share, one call at a time.</summary>
internal sealed class CudnnHandle : IDisposable
{
    private readonly CudaHandle _handle;

    /// <summary>Makes a handle of the context (<c>cudnnCreate</c>).</summary>
    /// <exception cref="CudaException">cuDNN can't be used on this device; the message says why.</exception>
    public CudnnHandle(ICudnn cudnn, CudaContext context)
    {
        (Cudnn, Context) = (cudnn, context);
        using ContextScope scope = context.Enter();
        CudnnStatus.Check(cudnn, cudnn.Create(out nint handle));
        _handle = new CudaHandle(
            context.Handle, handle, (_, value) => cudnn.Destroy(value) == 0 ? CUresult.Success : CUresult.Unknown, awaitsDevice: true);
    }

    public ICudnn Cudnn { get; }

    public CudaContext Context { get; }

    public nint Value => _handle.Value;

    /// <summary>Held from <see cref="Use"/> to the end of the calls that belong to the stream.</summary>
    public Lock Gate { get; } = new();

    /// <summary>Lets the calls that follow work on a stream (<c>cudnnSetStream</c>); the caller holds <see cref="Gate"/>.</summary>
    public nint Use(CudaStream stream)
    {
        CudnnStatus.Check(Cudnn, Cudnn.SetStream(Value, stream.Stream));
        return Value;
    }

    /// <summary>Waits for the device's work and gives the handle back.</summary>
    public void Dispose() => _handle.Dispose();
}

/// <summary>Something that cuDNN describes: a tensor, a filter, a convolution, an activation or a window.</summary>
internal sealed class CudnnDescriptor : LibraryDescriptor
{
    private CudnnDescriptor(nint value, Func<nint, int> destroy)
        : base(value, destroy)
    {
    }

    /// <summary>A tensor of n images of h x w pixels of c channels, with strides in elements from one to the next.</summary>
    public static CudnnDescriptor Tensor(
        ICudnn cudnn, CudnnDataType type, (int N, int C, int H, int W) size, (int N, int C, int H, int W) stride)
    {
        CudnnStatus.Check(cudnn, cudnn.CreateTensorDescriptor(out nint value));
        return new CudnnDescriptor(value, cudnn.DestroyTensorDescriptor).Set(cudnn, d => cudnn.SetTensor4dDescriptorEx(
            d, type, size.N, size.C, size.H, size.W, stride.N, stride.C, stride.H, stride.W), "cudnnSetTensor4dDescriptorEx");
    }

    /// <summary>A filter in the order output, row, column, input of its group.</summary>
    public static CudnnDescriptor Filter(ICudnn cudnn, CudnnDataType type, int outputs, int kernel, int inputs)
    {
        CudnnStatus.Check(cudnn, cudnn.CreateFilterDescriptor(out nint value));
        return new CudnnDescriptor(value, cudnn.DestroyFilterDescriptor).Set(cudnn, d => cudnn.SetFilter4dDescriptor(
            d, type, CudnnTensorFormat.Nhwc, outputs, inputs, kernel, kernel), "cudnnSetFilter4dDescriptor");
    }

    /// <summary>A convolution with fp32 sums, padded with (kernel / 2) · dilation zeros.</summary>
    public static CudnnDescriptor Convolution(ICudnn cudnn, int kernel, int stride, CudnnMathType math, int dilation = 1, int groups = 1)
    {
        int padding = kernel / 2 * dilation;
        CudnnStatus.Check(cudnn, cudnn.CreateConvolutionDescriptor(out nint value));
        CudnnDescriptor descriptor = new CudnnDescriptor(value, cudnn.DestroyConvolutionDescriptor)
            .Set(cudnn, d => cudnn.SetConvolution2dDescriptor(
                d, padding, padding, stride, stride, dilation, dilation, CudnnConvolutionMode.CrossCorrelation, CudnnDataType.Float),
                "cudnnSetConvolution2dDescriptor")
            .Set(cudnn, d => cudnn.SetConvolutionMathType(d, math), "cudnnSetConvolutionMathType");
        return groups == 1 ? descriptor : descriptor.Set(cudnn, d => cudnn.SetConvolutionGroupCount(d, groups), "cudnnSetConvolutionGroupCount");
    }

    // Some versions clip a ReLU where its coefficient says so.
    private const double NoCeiling = double.MaxValue;

    public static CudnnDescriptor Activation(ICudnn cudnn, CudnnActivation mode)
    {
        CudnnStatus.Check(cudnn, cudnn.CreateActivationDescriptor(out nint value));
        return new CudnnDescriptor(value, cudnn.DestroyActivationDescriptor)
            .Set(cudnn, d => cudnn.SetActivationDescriptor(d, mode, CudnnNan.NotPropagate, NoCeiling), "cudnnSetActivationDescriptor");
    }

    /// <summary>The maximum of square windows.</summary>
    public static CudnnDescriptor MaxPooling(ICudnn cudnn, int window, int padding, int stride)
    {
        CudnnStatus.Check(cudnn, cudnn.CreatePoolingDescriptor(out nint value));
        return new CudnnDescriptor(value, cudnn.DestroyPoolingDescriptor).Set(cudnn, d => cudnn.SetPooling2dDescriptor(
            d, CudnnPooling.Max, CudnnNan.Propagate, window, window, padding, padding, stride, stride), "cudnnSetPooling2dDescriptor");
    }

    // Where the library refuses the values, the descriptor is given back.
    private CudnnDescriptor Set(ICudnn cudnn, Func<nint, int> set, string call)
    {
        int status = set(handle);
        if (status == 0) return this;
        Dispose();
        throw CudnnStatus.Failure(cudnn, status, call);
    }
}
