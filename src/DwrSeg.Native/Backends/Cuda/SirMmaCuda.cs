using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>A Simple Inverted Residual: y = epilogue(conv1x1(relu(conv3x3(x) + bias))).</summary>
/// <param name="X">The input.</param>
/// <param name="Y">The output; must not overlap <paramref name="X"/>.</param>
/// <param name="Middle">Channels between the convolutions.</param>
/// <param name="Stride">Of the 3x3 convolution.</param>
/// <param name="Expand">Its weights, order <see cref="WeightOrder.Rows"/>.</param>
/// <param name="ExpandBias">fp32, [middle]; 0 for none.</param>
/// <param name="Project">Weights of the 1x1 convolution, order <see cref="WeightOrder.Rows"/>.</param>
internal readonly record struct CudaSir(
    DeviceMap X, DeviceMap Y, int Middle, int Stride, CUdeviceptr Expand, CUdeviceptr ExpandBias, CUdeviceptr Project)
{
    /// <summary>fp32, [outputs]; 0 for none.</summary>
    public CUdeviceptr Bias { get; init; }

    /// <summary>The shortcut.</summary>
    public DeviceMap? Residual { get; init; }

    public CudaRelu Relu { get; init; }

    /// <summary>Its second half as a convolution, whose input exists only within the kernel: it stands for the sizes of y's side.</summary>
    public CudaConvolution Projection => new(Y with { C = Middle, PixelStride = Math.Max(Middle, Y.PixelStride) }, Y, Project, 1)
    {
        Bias = Bias, Residual = Residual, Relu = Relu,
    };
}

/// <summary>Launches <c>sir_mma.cu</c>. Where it does not fit, two launches of <see cref="ConvMmaCuda"/> do the same.</summary>
internal static class SirMmaCuda
{
    private const int Side = 8, Threads = 256, Row = 64, RowBytes = 128, MiddleChannels = 192;

    private static readonly ComputeCapability FirstArchitecture = new(8, 0);

    // All of DWRSeg's SIR modules have 64 inputs and outputs; 128 are for wider ones. Two stages are for the 99 KiB of sm_86 and sm_89.
    private static readonly Size[] Sizes = [new(64, 64, 1, 3), new(64, 64, 1, 2), new(64, 64, 2, 3), new(128, 128, 1, 3)];

    /// <summary>The values that the kernel is specialised by.</summary>
    private sealed record Size(int Channels, int Outputs, int Stride, int Stages)
    {
        private int Halo => Side * Stride + 3 - Stride;

        public int SharedBytes => (Channels / Row * Halo * Halo + MiddleChannels * (Stages + 1)) * RowBytes;

        public KernelVariant Variant(CudaElement element) =>
            KernelVariant.Of("sir_mma", $"ELEMENT={element.KernelName()} CHANNELS={Channels} OUTPUTS={Outputs} STRIDE={Stride} STAGES={Stages}", element)
                with { FirstArchitecture = FirstArchitecture, DynamicSharedBytes = SharedBytes };
    }

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants =>
        from element in new[] { CudaElement.Float16, CudaElement.BFloat16 }
        from size in Sizes
        select size.Variant(element);

    /// <summary>True where the kernel can run the module on this device.</summary>
    public static bool Fits(CudaDevice device, in CudaSir s) => Choose(device, s) is not null;

    /// <summary>Settles a launch.</summary>
    /// <exception cref="ArgumentException">The module is malformed, or <see cref="Fits"/> says no.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, in CudaSir s)
    {
        s.Projection.Validate("sir_mma");
        new CudaConvolution(s.X, s.Y with { C = s.Middle, PixelStride = Math.Max(s.Middle, s.Y.PixelStride) }, s.Expand, 3, s.Stride)
        {
            Bias = s.ExpandBias,
        }.Validate("sir_mma, expansion");
        if (Choose(kernels.Context.Device, s) is not { } size)
        {
            throw new ArgumentException(
                $"sir_mma: {s.X} to {s.Y} with stride {s.Stride} does not fit {kernels.Context.Device}: use two convolutions.");
        }
        Arguments arguments = new()
        {
            X = s.X.Data, Weights = s.Expand, Bias = s.ExpandBias, Project = s.Project, Middle = s.Middle, TilesAcross = (int)Grid.Blocks(s.Y.W, Side),
            Shape = new ConvShape
            {
                Height = s.X.H, Width = s.X.W, Inputs = s.X.C, XStride = s.X.PixelStride, OutHeight = s.Y.H, OutWidth = s.Y.W, Outputs = s.Y.C,
                Pixels = (int)s.Y.Pixels, Kernel = 3, Stride = s.Stride,
            },
            Epilogue = s.Projection.Epilogue,
        };
        var grid = new Grid(arguments.TilesAcross * Grid.Blocks(s.Y.H, Side), 1, s.Y.N);
        long weights = (9L * s.X.C + s.Y.C) * s.Middle;
        var launch = new CudaLaunch<Arguments>(kernels, size.Variant(s.X.Element), grid, Threads, size.SharedBytes, arguments)
        {
            Bytes = s.X.Bytes + s.Y.Bytes + (s.Residual is { } r && r.Data != s.X.Data ? r.Bytes : 0) + weights * s.X.Element.Bytes() + 4L * s.Middle,
            Flops = 2 * s.Y.Pixels * weights,
        };
        launch.Kernel.AllowDynamicShared(size.SharedBytes);
        return launch;
    }

    private static Size? Choose(CudaDevice device, CudaSir s)
    {
        if (device.ComputeCapability < FirstArchitecture || s.X.Element == CudaElement.Float32 || !s.X.IsVector || s.Projection.Epilogue.IsVector == 0)
            return null;
        return Array.Find(Sizes, size =>
            s.X.C <= size.Channels && s.Y.C <= size.Outputs && s.Stride == size.Stride && size.SharedBytes <= device.MaxSharedBytesPerBlock);
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr X, Weights, Bias, Project;
        public ConvShape Shape;
        public ConvEpilogue Epilogue;
        public int Middle, TilesAcross;
    }
}
