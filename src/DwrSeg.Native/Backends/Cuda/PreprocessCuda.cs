using System.Runtime.InteropServices;
using DwrSeg.Native.Cuda.Compilation;
using DwrSeg.Native.Cuda.Driver;

namespace DwrSeg.Native.Backends.Cuda;

/// <summary>An 8-bit interleaved image in device memory.</summary>
/// <param name="Pixels">The first row.</param>
/// <param name="Width">Pixels in a row.</param>
/// <param name="Height">Rows.</param>
/// <param name="RowBytes">Bytes from one row to the next.</param>
/// <param name="Format">Order of bytes in a pixel.</param>
internal readonly record struct DeviceImage(CUdeviceptr Pixels, int Width, int Height, long RowBytes, PixelFormat Format)
{
    public int PixelBytes => Format.BytesPerPixel();
}

/// <summary>Launches <c>preprocess.cu</c>: an image of any size, resampled and normalised into the network's input.</summary>
internal static class PreprocessCuda
{
    private const int Threads = 256;

    private static readonly int[] ChannelCounts = [3, 4, 8];

    private enum Stores
    {
        Elements,
        Pixels,
        Staged,
    }

    /// <summary>All variants that <see cref="Prepare"/> can choose.</summary>
    public static IEnumerable<KernelVariant> Variants =>
        from element in Enum.GetValues<CudaElement>()
        from channels in ChannelCounts
        from stores in new[] { Stores.Elements, channels == 3 ? Stores.Staged : Stores.Pixels }
        select Variant(element, channels, stores);

    /// <summary>Fills a map of one image and 3 channels, or 4 or 8 of which the rest become zeros.</summary>
    /// <exception cref="ArgumentException">The image is empty, its rows overlap, or the map is not one image of 3, 4 or 8 channels.</exception>
    public static CudaLaunch Prepare(KernelCache kernels, in DeviceImage image, in DeviceMap y, in Normalization normalization)
    {
        y.Validate("preprocess, y");
        if (y is not { N: 1, C: 3 or 4 or 8 }) throw new ArgumentException($"preprocess: y ({y}) must be one image of 3, 4 or 8 channels.");
        long lineBytes = (long)image.Width * image.PixelBytes;
        if (image.Pixels.Value == 0 || image.Width <= 0 || image.Height <= 0 || image.RowBytes < lineBytes)
        {
            throw new ArgumentException(
                $"preprocess: an image of {image.Width}x{image.Height} pixels needs rows of at least {lineBytes} bytes (found {image.RowBytes}).");
        }
        Stores stores = StoresFor(y);
        Arguments arguments = new()
        {
            Image = image.Pixels, Y = y.Data, RowBytes = image.RowBytes, ImageHeight = image.Height, ImageWidth = image.Width,
            PixelBytes = image.PixelBytes, Swap = image.Format is PixelFormat.Bgr or PixelFormat.Bgra ? 1 : 0,
            Height = y.H, Width = y.W, YStride = y.PixelStride,
            WholePixels = image.PixelBytes == 4 && image.Pixels.Value % 4 == 0 && image.RowBytes % 4 == 0 ? 1 : 0,
            RowScale = (float)image.Height / y.H, ColumnScale = (float)image.Width / y.W,
            ScaleR = Scale(normalization.DeviationR), ScaleG = Scale(normalization.DeviationG), ScaleB = Scale(normalization.DeviationB),
            ShiftR = -normalization.MeanR / normalization.DeviationR, ShiftG = -normalization.MeanG / normalization.DeviationG,
            ShiftB = -normalization.MeanB / normalization.DeviationB,
        };
        int run = stores == Stores.Staged ? Threads * 4 / y.Element.Bytes() : Threads;
        return new CudaLaunch<Arguments>(
            kernels, Variant(y.Element, y.C, stores), new Grid(Grid.Blocks(y.Pixels, run)), Threads, 0, arguments)
        {
            Bytes = lineBytes * image.Height + y.Bytes,
            Flops = 36 * y.Pixels,
        };

        static float Scale(float deviation) => (float)(1 / (255 * (double)deviation));
    }

    private static Stores StoresFor(in DeviceMap y)
    {
        int pixelBytes = y.C * y.Element.Bytes(), vector = Math.Min(pixelBytes, CudaElements.VectorBytes);
        if (y.C == 3) return y.PixelStride == 3 && y.Data.Value % CudaElements.VectorBytes == 0 ? Stores.Staged : Stores.Elements;
        bool aligned = y.Data.Value % (ulong)vector == 0 && (long)y.PixelStride * y.Element.Bytes() % vector == 0;
        return aligned ? Stores.Pixels : Stores.Elements;
    }

    private static KernelVariant Variant(CudaElement element, int channels, Stores stores) =>
        KernelVariant.Of("preprocess", $"ELEMENT={element.KernelName()} CHANNELS={channels} STORES={(int)stores}", element);

    [StructLayout(LayoutKind.Sequential)]
    private struct Arguments
    {
        public CUdeviceptr Image, Y;
        public long RowBytes;
        public int ImageHeight, ImageWidth, PixelBytes, Swap, Height, Width, YStride, WholePixels;
        public float RowScale, ColumnScale, ScaleR, ScaleG, ScaleB, ShiftR, ShiftG, ShiftB;
    }
}
