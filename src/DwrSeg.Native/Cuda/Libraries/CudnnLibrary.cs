using System.Runtime.InteropServices;
using System.Text;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>cuDNN 8 or 9, where it is there.</summary>
internal sealed unsafe class CudnnLibrary : ICudnn
{
    private CudnnLibrary(string location, Version version) => (Location, Version) = (location, version);

    public string Location { get; }

    public Version Version { get; }

    /// <summary>Finds it; null and a reason where there is none that can be used.</summary>
    public static CudnnLibrary? TryOpen(out string problem) => TryOpen(NativeLibraries.Find(NativeLibraries.Cudnn), out problem);

    /// <summary>What a search for it found; null and a reason where that can't be used.</summary>
    internal static CudnnLibrary? TryOpen(NativeLibraryResult library, out string problem)
    {
        // What cuDNN 8 does not have is asked of later ones alone.
        problem = library.Handle == 0 ? library.Problem
            : NativeLibraries.Lacking(library, typeof(CudnnApi), "cuDNN 9 or 8", nameof(CudnnApi.cudnnGetLastErrorString));
        if (problem.Length > 0) return null;
        Version version = VersionOf((long)CudnnApi.cudnnGetVersion());
        if (version.Major is 8 or 9) return new CudnnLibrary(library.Location, version);
        problem = $"{library.Location} is cuDNN {version}; install cuDNN 9 or 8";
        return null;
    }

    /// <summary>cuDNN 8 counts 1000 · major + 100 · minor, cuDNN 9 10000 · major + 100 · minor.</summary>
    internal static Version VersionOf(long number)
    {
        long unit = number < 90000 ? 1000 : 10000;
        return new Version((int)(number / unit), (int)(number % unit / 100), (int)(number % 100));
    }

    public string GetErrorString(int status)
    {
        string text = Marshal.PtrToStringUTF8((nint)CudnnApi.cudnnGetErrorString(status)) ?? "no explanation";
        if (Version.Major < 9) return text;
        const int Most = 1024;
        byte* message = stackalloc byte[Most];
        message[0] = 0;
        CudnnApi.cudnnGetLastErrorString(message, Most);
        string more = Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(message)).ReplaceLineEndings(" ").Trim();
        return more.Length == 0 ? text : $"{text}: {more}";
    }

    public int Create(out nint handle) => CudnnApi.cudnnCreate(out handle);

    public int Destroy(nint handle) => CudnnApi.cudnnDestroy(handle);

    public int SetStream(nint handle, CUstream stream) => CudnnApi.cudnnSetStream(handle, stream);

    public int CreateTensorDescriptor(out nint descriptor) => CudnnApi.cudnnCreateTensorDescriptor(out descriptor);

    public int DestroyTensorDescriptor(nint descriptor) => CudnnApi.cudnnDestroyTensorDescriptor(descriptor);

    public int SetTensor4dDescriptorEx(
        nint descriptor, CudnnDataType type, int n, int c, int h, int w, int nStride, int cStride, int hStride, int wStride) =>
        CudnnApi.cudnnSetTensor4dDescriptorEx(descriptor, type, n, c, h, w, nStride, cStride, hStride, wStride);

    public int CreateFilterDescriptor(out nint descriptor) => CudnnApi.cudnnCreateFilterDescriptor(out descriptor);

    public int DestroyFilterDescriptor(nint descriptor) => CudnnApi.cudnnDestroyFilterDescriptor(descriptor);

    public int SetFilter4dDescriptor(nint descriptor, CudnnDataType type, CudnnTensorFormat format, int k, int c, int h, int w) =>
        CudnnApi.cudnnSetFilter4dDescriptor(descriptor, type, format, k, c, h, w);

    public int CreateConvolutionDescriptor(out nint descriptor) => CudnnApi.cudnnCreateConvolutionDescriptor(out descriptor);

    public int DestroyConvolutionDescriptor(nint descriptor) => CudnnApi.cudnnDestroyConvolutionDescriptor(descriptor);

    public int SetConvolution2dDescriptor(
        nint descriptor, int padH, int padW, int strideH, int strideW, int dilationH, int dilationW, CudnnConvolutionMode mode, CudnnDataType compute) =>
        CudnnApi.cudnnSetConvolution2dDescriptor(descriptor, padH, padW, strideH, strideW, dilationH, dilationW, mode, compute);

    public int SetConvolutionMathType(nint descriptor, CudnnMathType math) => CudnnApi.cudnnSetConvolutionMathType(descriptor, math);

    public int SetConvolutionGroupCount(nint descriptor, int groups) => CudnnApi.cudnnSetConvolutionGroupCount(descriptor, groups);

    public int CreateActivationDescriptor(out nint descriptor) => CudnnApi.cudnnCreateActivationDescriptor(out descriptor);

    public int DestroyActivationDescriptor(nint descriptor) => CudnnApi.cudnnDestroyActivationDescriptor(descriptor);

    public int SetActivationDescriptor(nint descriptor, CudnnActivation mode, CudnnNan nan, double coefficient) =>
        CudnnApi.cudnnSetActivationDescriptor(descriptor, mode, nan, coefficient);

    public int CreatePoolingDescriptor(out nint descriptor) => CudnnApi.cudnnCreatePoolingDescriptor(out descriptor);

    public int DestroyPoolingDescriptor(nint descriptor) => CudnnApi.cudnnDestroyPoolingDescriptor(descriptor);

    public int SetPooling2dDescriptor(
        nint descriptor, CudnnPooling mode, CudnnNan nan, int windowH, int windowW, int padH, int padW, int strideH, int strideW) =>
        CudnnApi.cudnnSetPooling2dDescriptor(descriptor, mode, nan, windowH, windowW, padH, padW, strideH, strideW);

    public int GetConvolutionForwardAlgorithm(
        nint handle, nint x, nint filter, nint convolution, nint y, int requested, out int returned, CudnnAlgorithmPerformance* results) =>
        CudnnApi.cudnnGetConvolutionForwardAlgorithm_v7(handle, x, filter, convolution, y, requested, out returned, results);

    public int GetConvolutionForwardWorkspaceSize(
        nint handle, nint x, nint filter, nint convolution, nint y, CudnnAlgorithm algorithm, out nuint bytes) =>
        CudnnApi.cudnnGetConvolutionForwardWorkspaceSize(handle, x, filter, convolution, y, algorithm, out bytes);

    public int ConvolutionForward(
        nint handle, float* alpha, nint xDescriptor, CUdeviceptr x, nint filterDescriptor, CUdeviceptr filter, nint convolution, CudnnAlgorithm algorithm,
        CUdeviceptr workspace, nuint workspaceBytes, float* beta, nint yDescriptor, CUdeviceptr y) =>
        CudnnApi.cudnnConvolutionForward(
            handle, alpha, xDescriptor, x, filterDescriptor, filter, convolution, algorithm, workspace, workspaceBytes, beta, yDescriptor, y);

    public int ConvolutionBiasActivationForward(
        nint handle, float* alpha1, nint xDescriptor, CUdeviceptr x, nint filterDescriptor, CUdeviceptr filter, nint convolution, CudnnAlgorithm algorithm,
        CUdeviceptr workspace, nuint workspaceBytes, float* alpha2, nint zDescriptor, CUdeviceptr z, nint biasDescriptor, CUdeviceptr bias, nint activation,
        nint yDescriptor, CUdeviceptr y) =>
        CudnnApi.cudnnConvolutionBiasActivationForward(
            handle, alpha1, xDescriptor, x, filterDescriptor, filter, convolution, algorithm, workspace, workspaceBytes, alpha2, zDescriptor, z,
            biasDescriptor, bias, activation, yDescriptor, y);

    public int PoolingForward(nint handle, nint pooling, float* alpha, nint xDescriptor, CUdeviceptr x, float* beta, nint yDescriptor, CUdeviceptr y) =>
        CudnnApi.cudnnPoolingForward(handle, pooling, alpha, xDescriptor, x, beta, yDescriptor, y);
}
