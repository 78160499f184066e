namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>What the convolution kernels accept.</summary>
internal static class ConvolutionShape
{
    public static void Check(int kernel, int stride, int inChannels, int outChannels)
    {
        if (kernel is not (1 or 3)) throw new ArgumentOutOfRangeException(nameof(kernel), kernel, "Kernel must be 1 or 3.");
        if (stride is not (1 or 2)) throw new ArgumentOutOfRangeException(nameof(stride), stride, "Stride must be 1 or 2.");
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(inChannels);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(outChannels);
    }

    /// <summary>Checks that y = conv(x) fits: channels, batch and size ceil(in / stride).</summary>
    public static void CheckMaps(int stride, int inChannels, int outChannels, in Map x, in Map y)
    {
        if (x.C != inChannels || y.C != outChannels || x.N != y.N || y.H != Output(x.H, stride) || y.W != Output(x.W, stride))
            throw new ArgumentException(
                $"Convolution {inChannels} → {outChannels} of stride {stride} does not take {Show(x)} to {Show(y)}.");
    }

    public static int Output(int size, int stride) => (size + stride - 1) / stride;

    private static string Show(in Map map) => $"{map.N}x{map.H}x{map.W}x{map.C}";
}
