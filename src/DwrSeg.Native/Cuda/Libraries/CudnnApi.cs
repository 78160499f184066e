#pragma warning disable IDE1006 // the library's own names
using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>cuDNN's entry points (<c>cudnn.h</c> of versions 8 and 9; in both they are exported by the one library that programs load).</summary>
internal static unsafe partial class CudnnApi
{
    private const string Library = NativeLibraries.Cudnn;

    [LibraryImport(Library)]
    public static partial nuint cudnnGetVersion();

    [LibraryImport(Library)]
    public static partial byte* cudnnGetErrorString(int status);

    /// <summary>Only there from version 9 on.</summary>
    [LibraryImport(Library)]
    public static partial void cudnnGetLastErrorString(byte* message, nuint maxSize);

    [LibraryImport(Library)]
    public static partial int cudnnCreate(out nint handle);

    [LibraryImport(Library)]
    public static partial int cudnnDestroy(nint handle);

    [LibraryImport(Library)]
    public static partial int cudnnSetStream(nint handle, CUstream stream);

    [LibraryImport(Library)]
    public static partial int cudnnCreateTensorDescriptor(out nint descriptor);

    [LibraryImport(Library)]
    public static partial int cudnnDestroyTensorDescriptor(nint descriptor);

    [LibraryImport(Library)]
    public static partial int cudnnSetTensor4dDescriptorEx(
        nint descriptor, CudnnDataType type, int n, int c, int h, int w, int nStride, int cStride, int hStride, int wStride);

    [LibraryImport(Library)]
    public static partial int cudnnCreateFilterDescriptor(out nint descriptor);

    [LibraryImport(Library)]
    public static partial int cudnnDestroyFilterDescriptor(nint descriptor);

    [LibraryImport(Library)]
    public static partial int cudnnSetFilter4dDescriptor(nint descriptor, CudnnDataType type, CudnnTensorFormat format, int k, int c, int h, int w);

    [LibraryImport(Library)]
    public static partial int cudnnCreateConvolutionDescriptor(out nint descriptor);

    [LibraryImport(Library)]
    public static partial int cudnnDestroyConvolutionDescriptor(nint descriptor);

    [LibraryImport(Library)]
    public static partial int cudnnSetConvolution2dDescriptor(
        nint descriptor, int padH, int padW, int strideH, int strideW, int dilationH, int dilationW, CudnnConvolutionMode mode, CudnnDataType compute);

    [LibraryImport(Library)]
    public static partial int cudnnSetConvolutionMathType(nint descriptor, CudnnMathType math);

    [LibraryImport(Library)]
    public static partial int cudnnSetConvolutionGroupCount(nint descriptor, int groups);

    [LibraryImport(Library)]
    public static partial int cudnnCreateActivationDescriptor(out nint descriptor);

    [LibraryImport(Library)]
    public static partial int cudnnDestroyActivationDescriptor(nint descriptor);

    [LibraryImport(Library)]
    public static partial int cudnnSetActivationDescriptor(nint descriptor, CudnnActivation mode, CudnnNan nan, double coefficient);

    [LibraryImport(Library)]
    public static partial int cudnnCreatePoolingDescriptor(out nint descriptor);

    [LibraryImport(Library)]
    public static partial int cudnnDestroyPoolingDescriptor(nint descriptor);

    [LibraryImport(Library)]
    public static partial int cudnnSetPooling2dDescriptor(
        nint descriptor, CudnnPooling mode, CudnnNan nan, int windowH, int windowW, int padH, int padW, int strideH, int strideW);

    [LibraryImport(Library)]
    public static partial int cudnnGetConvolutionForwardAlgorithm_v7(
        nint handle, nint x, nint filter, nint convolution, nint y, int requested, out int returned, CudnnAlgorithmPerformance* results);

    [LibraryImport(Library)]
    public static partial int cudnnGetConvolutionForwardWorkspaceSize(
        nint handle, nint x, nint filter, nint convolution, nint y, CudnnAlgorithm algorithm, out nuint bytes);

    [LibraryImport(Library)]
    public static partial int cudnnConvolutionForward(
        nint handle, float* alpha, nint xDescriptor, CUdeviceptr x, nint filterDescriptor, CUdeviceptr filter, nint convolution, CudnnAlgorithm algorithm,
        CUdeviceptr workspace, nuint workspaceBytes, float* beta, nint yDescriptor, CUdeviceptr y);

    [LibraryImport(Library)]
    public static partial int cudnnConvolutionBiasActivationForward(
        nint handle, float* alpha1, nint xDescriptor, CUdeviceptr x, nint filterDescriptor, CUdeviceptr filter, nint convolution, CudnnAlgorithm algorithm,
        CUdeviceptr workspace, nuint workspaceBytes, float* alpha2, nint zDescriptor, CUdeviceptr z, nint biasDescriptor, CUdeviceptr bias, nint activation,
        nint yDescriptor, CUdeviceptr y);

    [LibraryImport(Library)]
    public static partial int cudnnPoolingForward(
        nint handle, nint pooling, float* alpha, nint xDescriptor, CUdeviceptr x, float* beta, nint yDescriptor, CUdeviceptr y);
}
