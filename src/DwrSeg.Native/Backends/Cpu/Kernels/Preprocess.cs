using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// An 8-bit image to the network's input: bilinear resampling as <see cref="Resize"/> does (none where the size is the same), then
/// (v / 255 − mean) / deviation, channels in the order red, green, blue.
/// </summary>
internal static unsafe class Preprocess
{
    private const int Padding = 32;

    private struct Arguments
    {
        public byte* Pixels;
        public long RowBytes;
        public int Width, Height, PixelBytes, Tasks;
        public bool Swap;
        public Map Y;
        public int* RowLow, ColumnLow;
        public float* RowWeight, ColumnWeight, Scratch;
        public long ScratchStride;
        public Vector128<float> Scale, Shift;
    }

    /// <summary>Fills a map of one image and three channels.</summary>
    /// <exception cref="ArgumentException">The image is empty or its bytes do not reach to its last row.</exception>
    public static void Run(WorkerPool pool, in ImageView image, Map input, in Normalization normalization)
    {
        int pixelBytes = image.Format is PixelFormat.Rgb or PixelFormat.Bgr ? 3 : 4;
        long lineBytes = (long)image.Width * pixelBytes, needed = (image.Height - 1L) * image.RowBytes + lineBytes;
        if (image.Width <= 0 || image.Height <= 0)
            throw new ArgumentException($"An image of {image.Width}x{image.Height} pixels is empty.");
        if (image.RowBytes < lineBytes || image.Pixels.Length < needed)
        {
            throw new ArgumentException(
                $"An image of {image.Width}x{image.Height} pixels of {pixelBytes} bytes needs rows of at least {lineBytes} bytes "
                + $"(found {image.RowBytes}) and {needed} bytes in all (found {image.Pixels.Length}).");
        }
        if (input is not { N: 1, C: 3 })
            throw new ArgumentException($"The input holds {input.N} images of {input.C} channels, not one of 3.");

        long rowFloats = (lineBytes + Padding + 15) & ~15L, tables = (2L * (input.H + input.W) + 15) & ~15L;
        float* memory = Simd.Allocate<float>(tables + rowFloats * pool.Workers);
        try
        {
            fixed (byte* pixels = image.Pixels)
            {
                Arguments a = new()
                {
                    Pixels = pixels, RowBytes = image.RowBytes, Width = image.Width, Height = image.Height, PixelBytes = pixelBytes,
                    Swap = image.Format is PixelFormat.Bgr or PixelFormat.Bgra, Y = input, Tasks = Simd.Tasks(input.Pixels * 16, input.H),
                    Scratch = memory + tables, ScratchStride = rowFloats,
                    Scale = Vector128.Create(
                        Scale(normalization.DeviationR), Scale(normalization.DeviationG), Scale(normalization.DeviationB), 0),
                    Shift = Vector128.Create(
                        -normalization.MeanR / normalization.DeviationR, -normalization.MeanG / normalization.DeviationG,
                        -normalization.MeanB / normalization.DeviationB, 0),
                };
                a.RowWeight = memory;
                a.ColumnWeight = memory + input.H;
                a.RowLow = (int*)(a.ColumnWeight + input.W);
                a.ColumnLow = a.RowLow + input.H;
                BilinearAxis.Fill(image.Height, input.H, a.RowLow, a.RowWeight);
                BilinearAxis.Fill(image.Width, input.W, a.ColumnLow, a.ColumnWeight);
                bool sameSize = image.Width == input.W && image.Height == input.H;
                if (sameSize) pool.Run(a.Tasks, &CopyTask, &a);
                else pool.Run(a.Tasks, Simd.IsWide ? &ResizeTask<Lanes16> : &ResizeTask<Lanes8>, &a);
            }
        }
        finally
        {
            Simd.Free(memory);
        }

        static float Scale(float deviation) => (float)(1 / (255 * (double)deviation));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void CopyTask(void* context, int task, int worker)
    {
        ref readonly Arguments a = ref *(Arguments*)context;
        Map y = a.Y;
        bool dense = y.PixelStride == 3;
        for (int row = (int)Simd.Start(y.H, a.Tasks, task), end = (int)Simd.Start(y.H, a.Tasks, task + 1); row < end; row++)
        {
            byte* p = a.Pixels + row * a.RowBytes;
            float* py = y.Row(0, row);
            for (int x = 0; x < y.W; x++, p += a.PixelBytes, py += y.PixelStride)
            {
                // The fourth byte of the last pixel may not exist.
                uint pixel = x + 1 < y.W ? *(uint*)p : (uint)(p[0] | p[1] << 8 | p[2] << 16);
                Vector128<ushort> words = Vector128.WidenLower(Vector128.CreateScalarUnsafe(pixel).AsByte());
                Store(a, Vector128.ConvertToSingle(Vector128.WidenLower(words).AsInt32()), py, dense && x + 1 < y.W);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ResizeTask<V>(void* context, int task, int worker)
        where V : struct, ILanes<V>
    {
        ref readonly Arguments a = ref *(Arguments*)context;
        Map y = a.Y;
        bool dense = y.PixelStride == 3;
        int bytes = a.Width * a.PixelBytes;
        float* blended = a.Scratch + worker * a.ScratchStride;
        for (int row = (int)Simd.Start(y.H, a.Tasks, task), end = (int)Simd.Start(y.H, a.Tasks, task + 1); row < end; row++)
        {
            byte* low = a.Pixels + a.RowLow[row] * a.RowBytes, high = a.Pixels + Math.Min(a.RowLow[row] + 1, a.Height - 1) * a.RowBytes;
            float weight = a.RowWeight[row];
            int i = 0;
            for (; i + V.Count <= bytes; i += V.Count)
            {
                V v = V.LoadBytes(low + i);
                V.Fma(V.LoadBytes(high + i) - v, V.Splat(weight), v).Store(blended + i);
            }
            for (; i < bytes; i++) blended[i] = MathF.FusedMultiplyAdd(high[i] - low[i], weight, low[i]);

            float* py = y.Row(0, row);
            for (int x = 0; x < y.W; x++, py += y.PixelStride)
            {
                int column = a.ColumnLow[x];
                Vector128<float> left = Vector128.Load(blended + column * a.PixelBytes);
                Vector128<float> right = Vector128.Load(blended + Math.Min(column + 1, a.Width - 1) * a.PixelBytes);
                Store(a, Vector128.FusedMultiplyAdd(right - left, Vector128.Create(a.ColumnWeight[x]), left), py, dense && x + 1 < y.W);
            }
        }
    }

    /// <summary>Stores three channels; where it may, with a fourth that the next pixel overwrites.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(in Arguments a, Vector128<float> pixel, float* p, bool spill)
    {
        if (a.Swap) pixel = Vector128.Shuffle(pixel, Vector128.Create(2, 1, 0, 3));
        pixel = Vector128.FusedMultiplyAdd(pixel, a.Scale, a.Shift);
        if (spill)
        {
            pixel.Store(p);
            return;
        }
        p[0] = pixel[0];
        p[1] = pixel[1];
        p[2] = pixel[2];
    }
}
