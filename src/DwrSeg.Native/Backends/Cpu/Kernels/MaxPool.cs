using System.Runtime.CompilerServices;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// 3x3 maximum of stride 2 and padding 1; output (N, ⌈H/2⌉, ⌈W/2⌉, C). Padding never wins; a NaN in a window does, as in PyTorch.
/// </summary>
internal static unsafe class MaxPool
{
    private struct Arguments
    {
        public Map X, Y;
        public int Tasks;
    }

    public static void Run(WorkerPool pool, Map x, Map y)
    {
        Arguments a = new() { X = x, Y = y, Tasks = Simd.Tasks(x.Pixels * x.C, (long)y.N * y.H) };
        pool.Run(a.Tasks, Simd.IsWide ? &Task<Lanes16> : &Task<Lanes8>, &a);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Task<V>(void* context, int task, int worker)
        where V : struct, ILanes<V>
    {
        ref readonly Arguments a = ref *(Arguments*)context;
        Map x = a.X, y = a.Y;
        long rows = (long)y.N * y.H, end = Simd.Start(rows, a.Tasks, task + 1);
        for (long row = Simd.Start(rows, a.Tasks, task); row < end; row++)
        {
            int n = (int)(row / y.H), r = (int)(row % y.H);
            int firstRow = Math.Max(2 * r - 1, 0), lastRow = Math.Min(2 * r + 1, x.H - 1);
            for (int column = 0; column < y.W; column++)
            {
                int first = Math.Max(2 * column - 1, 0), last = Math.Min(2 * column + 1, x.W - 1);
                float* corner = x.Row(n, firstRow) + (long)first * x.PixelStride;
                float* py = y.Row(n, r) + (long)column * y.PixelStride;
                nint rowStride = (nint)x.W * x.PixelStride;
                int height = lastRow - firstRow + 1, width = last - first + 1, c = 0;
                for (; c + V.Count <= x.C; c += V.Count) Window<V>(corner + c, rowStride, x.PixelStride, height, width).Store(py + c);
                for (; c < x.C; c++) Window<Lanes1>(corner + c, rowStride, x.PixelStride, height, width).Store(py + c);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Window<V>(float* corner, nint rowStride, nint pixelStride, int height, int width)
        where V : struct, ILanes<V>
    {
        V max = V.Load(corner);
        for (int r = 0; r < height; r++, corner += rowStride)
        {
            max = V.Max(max, V.Load(corner));
            if (width > 1) max = V.Max(max, V.Load(corner + pixelStride));
            if (width > 2) max = V.Max(max, V.Load(corner + 2 * pixelStride));
        }
        return max;
    }
}

/// <summary>
/// Gradient of <see cref="MaxPool"/> from x and dy: each window's dy goes to its first maximum in scan order (its last NaN, if any).
/// A task owns a band of rows of dx and visits, in order, every window that reaches into it.
/// </summary>
internal static unsafe class MaxPoolGradient
{
    private struct Arguments
    {
        public Map X, Dy, Dx;
        public int Tasks;
        public bool Accumulate;
    }

    public static void Run(WorkerPool pool, Map x, Map dy, Map dx, bool accumulate)
    {
        Arguments a = new() { X = x, Dy = dy, Dx = dx, Accumulate = accumulate, Tasks = Simd.Tasks(x.Pixels * x.C * 2, (long)dy.N * dy.H) };
        pool.Run(a.Tasks, Simd.IsWide ? &Task<Lanes16> : &Task<Lanes8>, &a);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Task<V>(void* context, int task, int worker)
        where V : struct, ILanes<V>
    {
        ref readonly Arguments a = ref *(Arguments*)context;
        Map x = a.X, dy = a.Dy, dx = a.Dx;
        // Output row r owns the input rows 2r and 2r + 1 of its image; rows 2r + 1 are shared with the next window row.
        long rows = (long)dy.N * dy.H, end = Simd.Start(rows, a.Tasks, task + 1);
        for (long row = Simd.Start(rows, a.Tasks, task); row < end; row++)
        {
            int n = (int)(row / dy.H), y = (int)(row % dy.H), firstRow = 2 * y, lastRow = Math.Min(2 * y + 1, x.H - 1);
            if (!a.Accumulate)
            {
                for (int r = firstRow; r <= lastRow; r++)
                for (int column = 0; column < x.W; column++)
                    new Span<float>(dx.Row(n, r) + (long)column * dx.PixelStride, dx.C).Clear();
            }
            for (int window = y; window <= Math.Min(y + 1, dy.H - 1); window++)
            for (int column = 0; column < dy.W; column++)
            {
                int c = 0;
                for (; c + V.Count <= x.C; c += V.Count) Window<V>(x, dy, dx, n, window, column, c, firstRow, lastRow);
                for (; c < x.C; c++) Window<Lanes1>(x, dy, dx, n, window, column, c, firstRow, lastRow);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Window<V>(Map x, Map dy, Map dx, int n, int window, int column, int c, int firstRow, int lastRow)
        where V : struct, ILanes<V>
    {
        int top = Math.Max(2 * window - 1, 0), bottom = Math.Min(2 * window + 1, x.H - 1);
        int left = Math.Max(2 * column - 1, 0), right = Math.Min(2 * column + 1, x.W - 1);
        float* corner = x.Row(n, top) + (long)left * x.PixelStride + c;
        V max = V.Load(corner), index = default;
        for (int r = top; r <= bottom; r++)
        for (int k = left; k <= right; k++)
        {
            V value = V.Load(x.Row(n, r) + (long)k * x.PixelStride + c);
            V larger = V.GreaterOrNaN(value, max);
            max = V.Select(larger, value, max);
            index = V.Select(larger, V.Splat((r - top) * 3 + k - left), index);
        }
        V gradient = V.Load(dy.Row(n, window) + (long)column * dy.PixelStride + c);
        for (int r = Math.Max(top, firstRow); r <= Math.Min(bottom, lastRow); r++)
        for (int k = left; k <= right; k++)
        {
            float* p = dx.Row(n, r) + (long)k * dx.PixelStride + c;
            (V.Load(p) + V.Select(V.Equal(index, V.Splat((r - top) * 3 + k - left)), gradient, default)).Store(p);
        }
    }
}
