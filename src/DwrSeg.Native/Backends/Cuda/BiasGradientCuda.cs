using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Launches <c>bias_gradient.cu</c>: the sum of a gradient over all pixels, channel by channel.</summary>
internal static class BiasGradientCuda
{
    private const int Threads = 256, BlocksPerMultiprocessor = 4;

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants => TrainingMaps.Widths.Select(Variant);

    /// <summary>What memory for shared sums a launch would like.</summary>
    public static (long PartialBytes, int Tiles) WorkspaceFor(CudaDevice device, in DeviceMap dy) =>
        ReductionFor(device, dy, SplitWorkspace.Unlimited).Need;

    /// <summary>db = the sums of dy, or with <paramref name="accumulate"/> that added to db.</summary>
    /// <exception cref="ArgumentException">dy is not an fp32 map, or db not an fp32 vector.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, in DeviceMap dy, CUdeviceptr db, bool accumulate, in SplitWorkspace workspace)
    {
        TrainingMaps.Validate("bias_gradient, dy", dy);
        TrainingMaps.ValidateVectors("bias_gradient", db);
        ChannelReduction reduction = ReductionFor(kernels.Context.Device, dy, workspace);
        Arguments arguments = new()
        {
            Reduction = reduction.ToArguments(), Dy = dy.Data, Db = db, DyStride = dy.PixelStride, Accumulate = accumulate ? 1 : 0,
        };
        return new CudaLaunch<Arguments>(kernels, Variant(reduction.Parts.Width), reduction.Parts.Blocks, Threads, 0, arguments)
        {
            Bytes = dy.Bytes + (accumulate ? 8L : 4L) * dy.C,
            Flops = dy.Elements,
        };
    }

    private static ChannelReduction ReductionFor(CudaDevice device, in DeviceMap dy, in SplitWorkspace workspace)
    {
        int width = ChannelParts.WidthFor(dy);
        ChannelParts parts = ChannelParts.For(device, dy, width, Threads, BlocksPerMultiprocessor);
        return new ChannelReduction(parts, width, workspace).Fitted();
    }

    private static KernelVariant Variant(int width) => KernelVariant.Of("bias_gradient", $"WIDTH={width}");

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public ChannelReductionArguments Reduction;
        public CUdeviceptr Dy, Db;
        public int DyStride, Accumulate;
    }
}
