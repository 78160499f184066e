using DwrSeg.Native.Cuda.Driver;
using DwrSeg.Native.Cuda.Libraries;
using DwrSeg.PtxEmulator.Driver;
using Xunit;

namespace DwrSeg.Native.Tests.Cuda.Libraries;

/// <summary>What stands in for cuDNN refuses what the reference forbids, so that a caller's mistake does not pass.</summary>
public sealed unsafe class CudnnDoubleTests
{
    private const int BadParameter = 2000, NotSupported = 3000, Bytes = 32768;

    /// <summary>A 3x3 convolution of 8 to 8 channels on 4x4 pixels that is all right, and what a test makes wrong in it.</summary>
    private sealed class Call
    {
        public CudnnDataType Type { get; init; } = CudnnDataType.Half;

        public CudnnMathType Math { get; init; } = CudnnMathType.TensorOp;

        public CudnnAlgorithm Algorithm { get; init; } = CudnnAlgorithm.ImplicitPrecompGemm;

        public CudnnActivation Activation { get; init; } = CudnnActivation.Relu;

        public int YSide { get; init; } = 4;

        public int ZStride { get; init; } = 8;

        public bool SetsStream { get; init; } = true;

        public bool ZIsX { get; init; }

        public nuint WorkspaceTaken { get; init; }

        public ulong Shift { get; init; }

        public bool WritesX { get; init; } = true;

        /// <summary>The call's status, and that of waiting for what it did.</summary>
        public (int Called, CUresult Done) Run()
        {
            using var driver = new EmulatedDriver(80);
            driver.Init(0);
            driver.DevicePrimaryCtxRetain(out CUcontext context, new CUdevice(0));
            driver.CtxSetCurrent(context);
            driver.StreamCreateWithPriority(out CUstream stream, 1, 0);
            CUdeviceptr Memory(bool isWritten = true)
            {
                driver.MemAlloc(out CUdeviceptr address, Bytes);
                if (isWritten) driver.MemsetD8Async(address, 0, Bytes, stream);
                return address;
            }
            CUdeviceptr x = Memory(WritesX) + Shift, y = Memory(), z = ZIsX ? x : Memory(), weights = Memory(), bias = Memory(), workspace = Memory();
            var cudnn = new CudnnDouble(driver);
            Assert.Equal(0, cudnn.Create(out nint handle));
            if (SetsStream) cudnn.SetStream(handle, stream);
            nint Tensor(int side, int stride)
            {
                cudnn.CreateTensorDescriptor(out nint tensor);
                Assert.Equal(0, cudnn.SetTensor4dDescriptorEx(tensor, Type, 1, 8, side, side, side * side * stride, 1, side * stride, stride));
                return tensor;
            }
            nint from = Tensor(4, 8), to = Tensor(YSide, 8), added = Tensor(4, ZStride);
            cudnn.CreateTensorDescriptor(out nint biases);
            cudnn.SetTensor4dDescriptorEx(biases, Type, 1, 8, 1, 1, 8, 1, 8, 8);
            cudnn.CreateFilterDescriptor(out nint filter);
            cudnn.SetFilter4dDescriptor(filter, Type, CudnnTensorFormat.Nhwc, 8, 8, 3, 3);
            cudnn.CreateConvolutionDescriptor(out nint convolution);
            cudnn.SetConvolution2dDescriptor(convolution, 1, 1, 1, 1, 1, 1, CudnnConvolutionMode.CrossCorrelation, CudnnDataType.Float);
            cudnn.SetConvolutionMathType(convolution, Math);
            cudnn.CreateActivationDescriptor(out nint activation);
            cudnn.SetActivationDescriptor(activation, Activation, CudnnNan.NotPropagate, 0);
            cudnn.GetConvolutionForwardWorkspaceSize(handle, from, filter, convolution, to, Algorithm, out nuint bytes);
            float one = 1;
            int called = cudnn.ConvolutionBiasActivationForward(
                handle, &one, from, x, filter, weights, convolution, Algorithm, workspace, bytes - WorkspaceTaken, &one, added, z, biases, bias, activation, to, y);
            return (called, driver.StreamSynchronize(stream));
        }
    }

    [Fact]
    public void RightCallIsTaken() => Assert.Equal((0, CUresult.Success), new Call().Run());

    [Fact]
    public void WrongCallsAreRefused()
    {
        Assert.Equal(BadParameter, new Call { SetsStream = false }.Run().Called);
        Assert.Equal(BadParameter, new Call { YSide = 3 }.Run().Called);
        Assert.Equal(BadParameter, new Call { ZStride = 16 }.Run().Called);
        Assert.Equal(BadParameter, new Call { ZIsX = true }.Run().Called);
        Assert.Equal(BadParameter, new Call { WorkspaceTaken = 1 }.Run().Called);
        Assert.Equal(BadParameter, new Call { Shift = 2 }.Run().Called);
        // TF32 in disguise, and fp16 without tensor cores.
        Assert.Equal(BadParameter, new Call { Type = CudnnDataType.Float, Math = CudnnMathType.Default }.Run().Called);
        Assert.Equal(BadParameter, new Call { Math = CudnnMathType.Fma }.Run().Called);
        Assert.Equal(NotSupported, new Call { Activation = CudnnActivation.Identity, Algorithm = CudnnAlgorithm.ImplicitGemm }.Run().Called);
        Assert.Equal(NotSupported, new Call { Algorithm = CudnnAlgorithm.Winograd }.Run().Called);
    }

    [Fact]
    public void ReadOfWhatNothingWroteFailsTheDevice() => Assert.Equal((0, CUresult.IllegalAddress), new Call { WritesX = false }.Run());
}
