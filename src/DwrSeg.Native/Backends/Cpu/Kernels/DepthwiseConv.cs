using System.Runtime.CompilerServices;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// One depth-wise convolution of a group that runs in one pass, all over the same N, H, W: 3x3, stride 1, zero padding = dilation, output
/// channel c reads input channel c / Multiplier. Weights are [3][3][output channels], the bias (or null) is per output channel.
/// </summary>
/// <remarks>
/// Backward, X stands for x or its gradient and Y for dy. <see cref="Accumulate"/>: the gradient is added; branches run in order, so a
/// later one may add to what an earlier one wrote.
/// </remarks>
internal readonly unsafe struct DepthwiseBranch(
    Map x, Map y, float* weights, float* bias, int multiplier, int dilation, bool accumulate = false)
{
    public readonly Map X = x, Y = y;
    public readonly float* Weights = weights, Bias = bias;
    public readonly int Multiplier = multiplier, Dilation = dilation;
    public readonly bool Accumulate = accumulate;
}

/// <summary>
/// Dilated depth-wise 3x3 convolutions, forward and by the input. A task owns a band of rows of every branch; within it, a group of
/// channels keeps its weights in registers and walks the rows.
/// </summary>
internal static unsafe class DepthwiseConv
{
    // A row outside the map is read from here, with a pixel stride of 0.
    internal const int ZeroLanes = 32;

    private struct Arguments
    {
        public DepthwiseBranch* Branches;
        public int Count, Tasks;
    }

    /// <summary>Y = conv(X) + bias, optionally with ReLU.</summary>
    public static void Run(WorkerPool pool, ReadOnlySpan<DepthwiseBranch> branches, bool relu)
    {
        fixed (DepthwiseBranch* p = branches)
        {
            Arguments a = new() { Branches = p, Count = branches.Length, Tasks = Tasks(branches) };
            if (relu) pool.Run(a.Tasks, Simd.IsWide ? &Forward<Lanes16, Yes> : &Forward<Lanes8, Yes>, &a);
            else pool.Run(a.Tasks, Simd.IsWide ? &Forward<Lanes16, No> : &Forward<Lanes8, No>, &a);
        }
    }

    /// <summary>X = the gradient by the input, from Y = dy; the bias is not read.</summary>
    public static void DataGradient(WorkerPool pool, ReadOnlySpan<DepthwiseBranch> branches)
    {
        fixed (DepthwiseBranch* p = branches)
        {
            Arguments a = new() { Branches = p, Count = branches.Length, Tasks = Tasks(branches) };
            pool.Run(a.Tasks, Simd.IsWide ? &Backward<Lanes16> : &Backward<Lanes8>, &a);
        }
    }

    private static int Tasks(ReadOnlySpan<DepthwiseBranch> branches)
    {
        long elements = 0;
        foreach (ref readonly DepthwiseBranch branch in branches) elements += branch.Y.Pixels * branch.Y.C;
        return branches.Length == 0 ? 0 : Simd.Tasks(elements * 4, (long)branches[0].X.N * branches[0].X.H);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Forward<V, TRelu>(void* context, int task, int worker)
        where V : struct, ILanes<V>
        where TRelu : struct, IFlag
    {
        ref readonly Arguments a = ref *(Arguments*)context;
        for (int i = 0; i < a.Count; i++)
        {
            ref readonly DepthwiseBranch b = ref a.Branches[i];
            long rows = (long)b.X.N * b.X.H;
            int first = (int)Simd.Start(rows, a.Tasks, task), end = (int)Simd.Start(rows, a.Tasks, task + 1), c = 0;
            if (b.Multiplier == 1)
            {
                for (; c + V.Count <= b.X.C; c += V.Count) Single<V, TRelu>(b, b.X, b.Y, b.Bias, backward: false, c, first, end);
                for (; c < b.X.C; c++) Single<Lanes1, TRelu>(b, b.X, b.Y, b.Bias, backward: false, c, first, end);
            }
            else if (b.Multiplier == 2)
            {
                for (; c + V.Count <= b.X.C; c += V.Count) Double<V, TRelu>(b, c, first, end);
                for (; c < b.X.C; c++) Double<Lanes1, TRelu>(b, c, first, end);
            }
            else
            {
                Any<TRelu>(b, first, end);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Backward<V>(void* context, int task, int worker)
        where V : struct, ILanes<V>
    {
        ref readonly Arguments a = ref *(Arguments*)context;
        for (int i = 0; i < a.Count; i++)
        {
            ref readonly DepthwiseBranch b = ref a.Branches[i];
            long rows = (long)b.X.N * b.X.H;
            int first = (int)Simd.Start(rows, a.Tasks, task), end = (int)Simd.Start(rows, a.Tasks, task + 1), c = 0;
            if (b.Multiplier == 1)
            {
                for (; c + V.Count <= b.X.C; c += V.Count) Single<V, No>(b, b.Y, b.X, null, backward: true, c, first, end);
                for (; c < b.X.C; c++) Single<Lanes1, No>(b, b.Y, b.X, null, backward: true, c, first, end);
            }
            else if (b.Multiplier == 2)
            {
                for (; c + V.Count <= b.X.C; c += V.Count) DoubleBackward<V>(b, c, first, end);
                for (; c < b.X.C; c++) DoubleBackward<Lanes1>(b, c, first, end);
            }
            else
            {
                AnyBackward(b, first, end);
            }
        }
    }

    /// <summary>Channel c of the row <paramref name="offset"/> below; outside the map, zeros with a pixel stride of 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float* RowOrZeros(Map x, int row, int offset, int c, float* zeros, out nint stride)
    {
        int y = row % x.H + offset;
        bool inside = y >= 0 && y < x.H;
        stride = inside ? x.PixelStride : 0;
        return inside ? x.Data + (long)(row + offset) * x.W * x.PixelStride + c : zeros;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Single<V, TRelu>(
        in DepthwiseBranch branch, Map x, Map y, float* bias, bool backward, int c, int first, int end)
        where V : struct, ILanes<V>
        where TRelu : struct, IFlag
    {
        float* zeros = stackalloc float[ZeroLanes];
        new Span<float>(zeros, ZeroLanes).Clear();
        float* w = branch.Weights + c;
        int width = x.W, dilation = branch.Dilation, step = branch.Y.C;
        bool accumulate = backward && branch.Accumulate;
        // The transpose of a convolution of stride 1 is the convolution with the taps in reverse.
        if (backward)
        {
            w += 8L * step;
            step = -step;
        }
        V w0 = V.Load(w), w1 = V.Load(w + step), w2 = V.Load(w + 2 * step), w3 = V.Load(w + 3 * step), w4 = V.Load(w + 4 * step);
        V w5 = V.Load(w + 5 * step), w6 = V.Load(w + 6 * step), w7 = V.Load(w + 7 * step), w8 = V.Load(w + 8 * step);
        V start = bias == null ? default : V.Load(bias + c);
        for (int row = first; row < end; row++)
        {
            float* p0 = RowOrZeros(x, row, -dilation, c, zeros, out nint s0);
            float* p1 = RowOrZeros(x, row, 0, c, zeros, out nint s1);
            float* p2 = RowOrZeros(x, row, dilation, c, zeros, out nint s2);
            nint o0 = s0 * dilation, o1 = s1 * dilation, o2 = s2 * dilation;
            float* py = y.Data + (long)row * width * y.PixelStride + c;
            for (int column = 0; column < width; column++)
            {
                V sum = accumulate ? V.Load(py) : start;
                sum = V.Fma(V.Load(p0), w1, sum);
                sum = V.Fma(V.Load(p1), w4, sum);
                sum = V.Fma(V.Load(p2), w7, sum);
                if (column >= dilation)
                {
                    sum = V.Fma(V.Load(p0 - o0), w0, sum);
                    sum = V.Fma(V.Load(p1 - o1), w3, sum);
                    sum = V.Fma(V.Load(p2 - o2), w6, sum);
                }
                if (column + dilation < width)
                {
                    sum = V.Fma(V.Load(p0 + o0), w2, sum);
                    sum = V.Fma(V.Load(p1 + o1), w5, sum);
                    sum = V.Fma(V.Load(p2 + o2), w8, sum);
                }
                (TRelu.Set ? V.Relu(sum) : sum).Store(py);
                p0 += s0;
                p1 += s1;
                p2 += s2;
                py += y.PixelStride;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Double<V, TRelu>(in DepthwiseBranch b, int c, int first, int end)
        where V : struct, ILanes<V>
        where TRelu : struct, IFlag
    {
        float* zeros = stackalloc float[ZeroLanes];
        new Span<float>(zeros, ZeroLanes).Clear();
        Map x = b.X, y = b.Y;
        int width = x.W, dilation = b.Dilation;
        Split(b.Weights, y.C, c, 0, out V e0, out V f0);
        Split(b.Weights, y.C, c, 1, out V e1, out V f1);
        Split(b.Weights, y.C, c, 2, out V e2, out V f2);
        Split(b.Weights, y.C, c, 3, out V e3, out V f3);
        Split(b.Weights, y.C, c, 4, out V e4, out V f4);
        Split(b.Weights, y.C, c, 5, out V e5, out V f5);
        Split(b.Weights, y.C, c, 6, out V e6, out V f6);
        Split(b.Weights, y.C, c, 7, out V e7, out V f7);
        Split(b.Weights, y.C, c, 8, out V e8, out V f8);
        V startE = default, startF = default;
        if (b.Bias != null) Split(b.Bias, 0, c, 0, out startE, out startF);
        for (int row = first; row < end; row++)
        {
            float* p0 = RowOrZeros(x, row, -dilation, c, zeros, out nint s0);
            float* p1 = RowOrZeros(x, row, 0, c, zeros, out nint s1);
            float* p2 = RowOrZeros(x, row, dilation, c, zeros, out nint s2);
            nint o0 = s0 * dilation, o1 = s1 * dilation, o2 = s2 * dilation;
            float* py = y.Data + (long)row * width * y.PixelStride + 2 * c;
            for (int column = 0; column < width; column++)
            {
                V v = V.Load(p0), even = V.Fma(v, e1, startE), odd = V.Fma(v, f1, startF);
                v = V.Load(p1);
                (even, odd) = (V.Fma(v, e4, even), V.Fma(v, f4, odd));
                v = V.Load(p2);
                (even, odd) = (V.Fma(v, e7, even), V.Fma(v, f7, odd));
                if (column >= dilation)
                {
                    v = V.Load(p0 - o0);
                    (even, odd) = (V.Fma(v, e0, even), V.Fma(v, f0, odd));
                    v = V.Load(p1 - o1);
                    (even, odd) = (V.Fma(v, e3, even), V.Fma(v, f3, odd));
                    v = V.Load(p2 - o2);
                    (even, odd) = (V.Fma(v, e6, even), V.Fma(v, f6, odd));
                }
                if (column + dilation < width)
                {
                    v = V.Load(p0 + o0);
                    (even, odd) = (V.Fma(v, e2, even), V.Fma(v, f2, odd));
                    v = V.Load(p1 + o1);
                    (even, odd) = (V.Fma(v, e5, even), V.Fma(v, f5, odd));
                    v = V.Load(p2 + o2);
                    (even, odd) = (V.Fma(v, e8, even), V.Fma(v, f8, odd));
                }
                if (TRelu.Set) (even, odd) = (V.Relu(even), V.Relu(odd));
                V.Interleave(even, odd, out V low, out V high);
                low.Store(py);
                high.Store(py + V.Count);
                p0 += s0;
                p1 += s1;
                p2 += s2;
                py += y.PixelStride;
            }
        }
    }

    /// <summary>A tap's weights of 2·V.Count output channels, those of even and of odd channels apart.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Split<V>(float* weights, int channels, int c, int tap, out V even, out V odd)
        where V : struct, ILanes<V>
    {
        float* w = weights + (long)tap * channels + 2 * c;
        V.Deinterleave(V.Load(w), V.Load(w + V.Count), out even, out odd);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void DoubleBackward<V>(in DepthwiseBranch b, int c, int first, int end)
        where V : struct, ILanes<V>
    {
        float* zeros = stackalloc float[ZeroLanes];
        new Span<float>(zeros, ZeroLanes).Clear();
        Map dy = b.Y, dx = b.X;
        int width = dy.W, dilation = b.Dilation, tap = dy.C, n = V.Count;
        bool accumulate = b.Accumulate;
        float* w = b.Weights + 2 * c;
        V a0 = V.Load(w), b0 = V.Load(w + n), a1 = V.Load(w + tap), b1 = V.Load(w + tap + n);
        V a2 = V.Load(w + 2 * tap), b2 = V.Load(w + 2 * tap + n), a3 = V.Load(w + 3 * tap), b3 = V.Load(w + 3 * tap + n);
        V a4 = V.Load(w + 4 * tap), b4 = V.Load(w + 4 * tap + n), a5 = V.Load(w + 5 * tap), b5 = V.Load(w + 5 * tap + n);
        V a6 = V.Load(w + 6 * tap), b6 = V.Load(w + 6 * tap + n), a7 = V.Load(w + 7 * tap), b7 = V.Load(w + 7 * tap + n);
        V a8 = V.Load(w + 8 * tap), b8 = V.Load(w + 8 * tap + n);
        for (int row = first; row < end; row++)
        {
            float* p0 = RowOrZeros(dy, row, dilation, 2 * c, zeros, out nint s0);
            float* p1 = RowOrZeros(dy, row, 0, 2 * c, zeros, out nint s1);
            float* p2 = RowOrZeros(dy, row, -dilation, 2 * c, zeros, out nint s2);
            nint o0 = s0 * dilation, o1 = s1 * dilation, o2 = s2 * dilation;
            float* px = dx.Data + (long)row * width * dx.PixelStride + c;
            for (int column = 0; column < width; column++)
            {
                V low = V.Load(p0) * a1, high = V.Load(p0 + n) * b1;
                (low, high) = (V.Fma(V.Load(p1), a4, low), V.Fma(V.Load(p1 + n), b4, high));
                (low, high) = (V.Fma(V.Load(p2), a7, low), V.Fma(V.Load(p2 + n), b7, high));
                if (column + dilation < width)
                {
                    (low, high) = (V.Fma(V.Load(p0 + o0), a0, low), V.Fma(V.Load(p0 + o0 + n), b0, high));
                    (low, high) = (V.Fma(V.Load(p1 + o1), a3, low), V.Fma(V.Load(p1 + o1 + n), b3, high));
                    (low, high) = (V.Fma(V.Load(p2 + o2), a6, low), V.Fma(V.Load(p2 + o2 + n), b6, high));
                }
                if (column >= dilation)
                {
                    (low, high) = (V.Fma(V.Load(p0 - o0), a2, low), V.Fma(V.Load(p0 - o0 + n), b2, high));
                    (low, high) = (V.Fma(V.Load(p1 - o1), a5, low), V.Fma(V.Load(p1 - o1 + n), b5, high));
                    (low, high) = (V.Fma(V.Load(p2 - o2), a8, low), V.Fma(V.Load(p2 - o2 + n), b8, high));
                }
                V.Deinterleave(low, high, out V even, out V odd);
                V sum = even + odd;
                (accumulate ? V.Load(px) + sum : sum).Store(px);
                p0 += s0;
                p1 += s1;
                p2 += s2;
                px += dx.PixelStride;
            }
        }
    }

    // Multipliers above 2 occur in no model of the paper; correctness is enough.
    private static void Any<TRelu>(in DepthwiseBranch b, int first, int end)
        where TRelu : struct, IFlag
    {
        Map x = b.X, y = b.Y;
        for (int row = first; row < end; row++)
        for (int column = 0; column < x.W; column++)
        {
            float* py = y.Data + ((long)row * x.W + column) * y.PixelStride;
            for (int c = 0; c < y.C; c++)
            {
                float sum = b.Bias == null ? 0 : b.Bias[c];
                for (int tap = 0; tap < 9; tap++)
                {
                    int dr = (tap / 3 - 1) * b.Dilation, dc = (tap % 3 - 1) * b.Dilation, r = row % x.H + dr;
                    if (r < 0 || r >= x.H || column + dc < 0 || column + dc >= x.W) continue;
                    sum += x.Data[((long)(row + dr) * x.W + column + dc) * x.PixelStride + c / b.Multiplier] * b.Weights[tap * y.C + c];
                }
                py[c] = TRelu.Set && sum < 0 ? 0 : sum;
            }
        }
    }

    private static void AnyBackward(in DepthwiseBranch b, int first, int end)
    {
        Map dx = b.X, dy = b.Y;
        for (int row = first; row < end; row++)
        for (int column = 0; column < dx.W; column++)
        {
            float* px = dx.Data + ((long)row * dx.W + column) * dx.PixelStride;
            for (int c = 0; c < dx.C; c++)
            {
                float sum = b.Accumulate ? px[c] : 0;
                for (int tap = 0; tap < 9; tap++)
                {
                    int dr = (1 - tap / 3) * b.Dilation, dc = (1 - tap % 3) * b.Dilation, r = row % dx.H + dr;
                    if (r < 0 || r >= dx.H || column + dc < 0 || column + dc >= dx.W) continue;
                    float* py = dy.Data + ((long)(row + dr) * dx.W + column + dc) * dy.PixelStride;
                    for (int o = c * b.Multiplier; o < (c + 1) * b.Multiplier; o++) sum += py[o] * b.Weights[tap * dy.C + o];
                }
                px[c] = sum;
            }
        }
    }
}
