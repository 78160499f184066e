using System.Runtime.InteropServices;

namespace DwrSeg.Native.Cuda.Libraries;

/// <summary>How values lie in memory (<c>cudnnDataType_t</c>): those that this project uses.</summary>
internal enum CudnnDataType
{
    Float = 0,
    Half = 2,
    BFloat16 = 9,
}

/// <summary>The order of a filter's dimensions (<c>cudnnTensorFormat_t</c>).</summary>
internal enum CudnnTensorFormat
{
    Nchw = 0,

    /// <summary>Of a filter: output, row, column, input (KRSC).</summary>
    Nhwc = 1,
}

/// <summary>What a convolution may multiply with (<c>cudnnMathType_t</c>).</summary>
internal enum CudnnMathType
{
    /// <summary>From sm_80 on it takes fp32 for TF32: never used here for fp32.</summary>
    Default = 0,

    TensorOp = 1,

    /// <summary>Fused multiply-adds alone: exact fp32.</summary>
    Fma = 3,
}

/// <summary>Whether the filter is turned (<c>cudnnConvolutionMode_t</c>).</summary>
internal enum CudnnConvolutionMode
{
    Convolution = 0,

    /// <summary>The filter as it stands: what networks call a convolution.</summary>
    CrossCorrelation = 1,
}

/// <summary>How a convolution is computed (<c>cudnnConvolutionFwdAlgo_t</c>).</summary>
internal enum CudnnAlgorithm
{
    ImplicitGemm = 0,

    /// <summary>The one that <c>cudnnConvolutionBiasActivationForward</c> takes without a ReLU, and the one for tensor cores and NHWC.</summary>
    ImplicitPrecompGemm = 1,

    Gemm = 2,
    Direct = 3,
    Fft = 4,
    FftTiling = 5,
    Winograd = 6,
    WinogradNonfused = 7,
}

/// <summary>What follows on the bias (<c>cudnnActivationMode_t</c>).</summary>
internal enum CudnnActivation
{
    Relu = 1,
    Identity = 5,
}

/// <summary><c>cudnnNanPropagation_t</c>.</summary>
internal enum CudnnNan
{
    NotPropagate = 0,
    Propagate = 1,
}

/// <summary>How a window becomes one value (<c>cudnnPoolingMode_t</c>).</summary>
internal enum CudnnPooling
{
    Max = 0,
}

/// <summary><c>cudnnConvolutionFwdAlgoPerf_t</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CudnnAlgorithmPerformance
{
    public CudnnAlgorithm Algorithm;

    /// <summary>0 where the algorithm can do it.</summary>
    public int Status;

    public float Milliseconds;

    /// <summary>Bytes of workspace.</summary>
    public nuint Memory;

    public int Determinism;
    public CudnnMathType MathType;
    public int Reserved0, Reserved1, Reserved2;
}
