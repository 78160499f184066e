using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>Launches <c>elementwise.cu</c>: ReLU and sum of maps, for layers that no fused kernel took.</summary>
internal static class ElementwiseCuda
{
    private const int BlocksPerMultiprocessor = 8;

    private static readonly bool[] Choices = [true, false];

    /// <summary>All variants that the launchers can choose.</summary>
    public static IEnumerable<KernelVariant> Variants =>
        from element in Enum.GetValues<CudaElement>()
        from width in new[] { element.PerVector(), 1 }
        from sum in Choices
        from relu in Choices
        where sum || relu
        select Variant(element, width, sum, relu);

    /// <summary>y = max(x, 0). y may be x.</summary>
    public static CudaLaunch Relu(KernelCache kernels, in DeviceMap x, in DeviceMap y) => Prepare(kernels, x, null, y, relu: true);

    /// <summary>y = a + b. y may be a or b.</summary>
    public static CudaLaunch Add(KernelCache kernels, in DeviceMap a, in DeviceMap b, in DeviceMap y) => Prepare(kernels, a, b, y, relu: false);

    private static CudaLaunch Prepare(KernelCache kernels, in DeviceMap a, in DeviceMap? b, in DeviceMap y, bool relu)
    {
        a.Validate("elementwise, a");
        b?.Validate("elementwise, b");
        y.Validate("elementwise, y");
        RequireSame(a, y);
        if (b is { } second) RequireSame(second, y);
        ChannelBlock block = ChannelBlock.For(a, b ?? a, y);
        Arguments arguments = new()
        {
            A = a.Data, B = b?.Data ?? default, Y = y.Data, Pixels = y.Pixels,
            AStride = a.PixelStride, BStride = b?.PixelStride ?? 0, YStride = y.PixelStride, Channels = y.C,
        };
        long blocks = Math.Min(Grid.Blocks(y.Pixels, block.Pixels), BlocksPerMultiprocessor * kernels.Context.Device.MultiprocessorCount);
        return new CudaLaunch<Arguments>(kernels, Variant(y.Element, block.Width, b is not null, relu), new Grid(blocks), block.Dim, 0, arguments)
        {
            Bytes = a.Bytes + (b?.Bytes ?? 0) + y.Bytes,
            Flops = y.Elements,
        };
    }

    private static void RequireSame(in DeviceMap x, in DeviceMap y)
    {
        if ((x.N, x.H, x.W, x.C, x.Element) != (y.N, y.H, y.W, y.C, y.Element))
            throw new ArgumentException($"elementwise: {x} and {y} differ in size or type.");
    }

    private static KernelVariant Variant(CudaElement element, int width, bool sum, bool relu) => KernelVariant.Of(
        "elementwise", $"ELEMENT={element.KernelName()} WIDTH={width} SUM={(sum ? 1 : 0)} RELU={(relu ? 1 : 0)}", element);

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr A, B, Y;
        public long Pixels;
        public int AStride, BStride, YStride, Channels;
    }
}
