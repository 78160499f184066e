using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>
/// cuDNN, call for call: the seam through which everything reaches it. Implemented by the library, and by a stand-in that tests compute with.
/// </summary>
/// <remarks>
/// Each method is cuDNN's call of the same name (<c>SetStream</c> is <c>cudnnSetStream</c>) of its legacy interface, which versions 8 and 9 have
/// in common, with its meaning and its status; nothing is checked or thrown here. <see cref="CudnnStatus"/> turns a status into an exception.
/// A handle belongs to the context that is current when it is made, and is for one thread at a time. Scaling factors are fp32 in host memory.
/// </remarks>
internal unsafe interface ICudnn
{
    Version Version { get; }

    /// <summary>The library's file, for messages.</summary>
    string Location { get; }

    /// <summary>The library's explanation of a status, from version 9 on with what it says about the calling thread's last failure.</summary>
    string GetErrorString(int status);

    int Create(out nint handle);

    int Destroy(nint handle);

    int SetStream(nint handle, CUstream stream);

    int CreateTensorDescriptor(out nint descriptor);

    int DestroyTensorDescriptor(nint descriptor);

    /// <summary>Sizes in the order n, c, h, w whatever the layout; strides in elements say how the tensor lies.</summary>
    int SetTensor4dDescriptorEx(
        nint descriptor, CudnnDataType type, int n, int c, int h, int w, int nStride, int cStride, int hStride, int wStride);

    int CreateFilterDescriptor(out nint descriptor);

    int DestroyFilterDescriptor(nint descriptor);

    /// <param name="descriptor">The descriptor.</param>
    /// <param name="type">The values' type.</param>
    /// <param name="format">The order of dimensions.</param>
    /// <param name="k">Outputs.</param>
    /// <param name="c">Inputs of a group.</param>
    /// <param name="h">Rows.</param>
    /// <param name="w">Columns.</param>
    int SetFilter4dDescriptor(nint descriptor, CudnnDataType type, CudnnTensorFormat format, int k, int c, int h, int w);

    int CreateConvolutionDescriptor(out nint descriptor);

    int DestroyConvolutionDescriptor(nint descriptor);

    int SetConvolution2dDescriptor(
        nint descriptor, int padH, int padW, int strideH, int strideW, int dilationH, int dilationW, CudnnConvolutionMode mode, CudnnDataType compute);

    int SetConvolutionMathType(nint descriptor, CudnnMathType math);

    int SetConvolutionGroupCount(nint descriptor, int groups);

    int CreateActivationDescriptor(out nint descriptor);

    int DestroyActivationDescriptor(nint descriptor);

    int SetActivationDescriptor(nint descriptor, CudnnActivation mode, CudnnNan nan, double coefficient);

    int CreatePoolingDescriptor(out nint descriptor);

    int DestroyPoolingDescriptor(nint descriptor);

    int SetPooling2dDescriptor(
        nint descriptor, CudnnPooling mode, CudnnNan nan, int windowH, int windowW, int padH, int padW, int strideH, int strideW);

    /// <summary><c>cudnnGetConvolutionForwardAlgorithm_v7</c>: the library's guess at the fastest algorithms, best first.</summary>
    int GetConvolutionForwardAlgorithm(
        nint handle, nint x, nint filter, nint convolution, nint y, int requested, out int returned, CudnnAlgorithmPerformance* results);

    int GetConvolutionForwardWorkspaceSize(nint handle, nint x, nint filter, nint convolution, nint y, CudnnAlgorithm algorithm, out nuint bytes);

    /// <summary>y = alpha · conv(x) + beta · y.</summary>
    int ConvolutionForward(
        nint handle, float* alpha, nint xDescriptor, CUdeviceptr x, nint filterDescriptor, CUdeviceptr filter, nint convolution, CudnnAlgorithm algorithm,
        CUdeviceptr workspace, nuint workspaceBytes, float* beta, nint yDescriptor, CUdeviceptr y);

    /// <summary>
    /// y = act(alpha1 · conv(x) + alpha2 · z + bias). z may be y but not x, and has y's descriptor; without a ReLU the algorithm must be
    /// <see cref="CudnnAlgorithm.ImplicitPrecompGemm"/>.
    /// </summary>
    int ConvolutionBiasActivationForward(
        nint handle, float* alpha1, nint xDescriptor, CUdeviceptr x, nint filterDescriptor, CUdeviceptr filter, nint convolution, CudnnAlgorithm algorithm,
        CUdeviceptr workspace, nuint workspaceBytes, float* alpha2, nint zDescriptor, CUdeviceptr z, nint biasDescriptor, CUdeviceptr bias, nint activation,
        nint yDescriptor, CUdeviceptr y);

    /// <summary>y = alpha · pool(x) + beta · y.</summary>
    int PoolingForward(nint handle, nint pooling, float* alpha, nint xDescriptor, CUdeviceptr x, float* beta, nint yDescriptor, CUdeviceptr y);
}
