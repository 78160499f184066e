using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>A map of bytes in device memory.</summary>
/// <param name="Data">The first row; 0 for none.</param>
/// <param name="RowBytes">Bytes from one row to the next.</param>
internal readonly record struct ByteMap(CUdeviceptr Data, long RowBytes);

/// <summary>Launches <c>argmax_head.cu</c>: the class map and its confidence at the image's size, from logits of any size.</summary>
internal static class ArgMaxHeadCuda
{
    private const int Threads = 256, Tile = 32, MostClasses = 256, SharedLimit = 48 * 1024;

    private static readonly bool[] Choices = [true, false];

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants =>
        from element in Enum.GetValues<CudaElement>()
        from staged in Choices
        from confidence in Choices
        select Variant(element, staged, confidence);

    /// <summary>
    /// Writes <paramref name="height"/> x <paramref name="width"/> classes and, where its address is not 0, the winner's softmax
    /// probability in 1/255.
    /// </summary>
    /// <exception cref="ArgumentException">The logits are not one image of at most 256 classes, or rows overlap.</exception>
    public static CudaLaunch Prepare(
        KernelCache kernels, in DeviceMap logits, int height, int width, in ByteMap classes, in ByteMap confidence = default)
    {
        logits.Validate("argmax_head, logits");
        bool hasConfidence = confidence.Data.Value != 0;
        if (logits.N != 1 || logits.C > MostClasses)
            throw new ArgumentException($"argmax_head: logits ({logits}) must be one image of at most {MostClasses} classes.");
        if (height <= 0 || width <= 0 || classes.Data.Value == 0 || classes.RowBytes < width || (hasConfidence && confidence.RowBytes < width))
        {
            throw new ArgumentException(
                $"argmax_head: {height}x{width} classes do not fit rows of {classes.RowBytes} (confidence {confidence.RowBytes}) bytes at {classes.Data}.");
        }
        long sharedBytes = 4L * (logits.C | 1) * LargestSpan(logits.H, height) * LargestSpan(logits.W, width);
        bool staged = sharedBytes <= SharedLimit;
        Arguments arguments = new()
        {
            Logits = logits.Data, Classes = classes.Data, Confidence = confidence.Data,
            ClassStride = classes.RowBytes, ConfidenceStride = confidence.RowBytes, LogitStride = logits.PixelStride,
            FromHeight = logits.H, FromWidth = logits.W, Count = logits.C, Height = height, Width = width,
            RowScale = (float)logits.H / height, ColumnScale = (float)logits.W / width,
        };
        long pixels = (long)height * width;
        return new CudaLaunch<Arguments>(
            kernels, Variant(logits.Element, staged, hasConfidence), new Grid(Grid.Blocks(width, Tile), Grid.Blocks(height, Tile)), Threads,
            staged ? (int)sharedBytes : 0, arguments)
        {
            Bytes = logits.Bytes + pixels * (hasConfidence ? 2 : 1),
            Flops = pixels * logits.C * (hasConfidence ? 18 : 8),
        };
    }

    private static KernelVariant Variant(CudaElement element, bool staged, bool confidence) => KernelVariant.Of(
        "argmax_head", $"ELEMENT={element.KernelName()} STAGED={(staged ? 1 : 0)} CONFIDENCE={(confidence ? 1 : 0)}", element)
            with { DynamicSharedBytes = staged ? null : 0 };

    /// <summary>The most source pixels along an axis that any tile reads, counted as the kernel counts them.</summary>
    private static int LargestSpan(int from, int to)
    {
        float scale = (float)from / to;
        int largest = 0;
        for (int first = 0; first < to; first += Tile)
            largest = Math.Max(largest, Math.Min(Low(Math.Min(first + Tile, to) - 1) + 1, from - 1) - Low(first) + 1);
        return largest;

        int Low(int i) => Math.Min((int)Math.Max(scale * (i + 0.5f) - 0.5f, 0), from - 1);
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr Logits, Classes, Confidence;
        public long ClassStride, ConfidenceStride;
        public int LogitStride, FromHeight, FromWidth, Count, Height, Width;
        public float RowScale, ColumnScale;
    }
}
