using System.Runtime.CompilerServices;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// Gradient of depth-wise convolutions by their weights: dw[tap][c] = Σ over pixels of x[pixel + tap][c / multiplier] · dy[pixel][c],
/// written, or added where the branch accumulates. A branch's X is x, its Y is dy, its Weights are dw. A task owns a group of channels
/// over a part of the rows.
/// </summary>
internal sealed unsafe class DepthwiseWeightGradient : IDisposable
{
    private const int Chunks = 8, ZeroLanes = DepthwiseConv.ZeroLanes;

    // fp32 sums are carried over to fp64 after about so many pixels.
    private const int PixelsPerSum = 256;

    private readonly int _channels;
    private double* _partials;

    /// <param name="outputChannels">Most output channels of all branches of one run together.</param>
    public DepthwiseWeightGradient(int outputChannels)
    {
        _channels = outputChannels;
        _partials = Simd.Allocate<double>((long)Chunks * 9 * outputChannels);
    }

    private struct Arguments
    {
        public DepthwiseBranch* Branches;
        public double* Partials;
        public int Chunks;
    }

    public void Run(WorkerPool pool, ReadOnlySpan<DepthwiseBranch> branches)
    {
        if (branches.IsEmpty) return;
        int lanes = Simd.IsWide ? Lanes16.Count : Lanes8.Count;
        int chunks = Math.Clamp(branches[0].X.N * branches[0].X.H / 4, 1, Chunks), groups = 0, channels = 0;
        foreach (ref readonly DepthwiseBranch b in branches)
        {
            groups += Groups(b, lanes);
            channels += b.Y.C;
        }
        ArgumentOutOfRangeException.ThrowIfGreaterThan(channels, _channels);
        fixed (DepthwiseBranch* p = branches)
        {
            Arguments a = new() { Branches = p, Partials = _partials, Chunks = chunks };
            pool.Run(groups * chunks, Simd.IsWide ? &Task<Lanes16, Sum16> : &Task<Lanes8, Sum8>, &a);
        }
        double* partial = _partials;
        foreach (ref readonly DepthwiseBranch b in branches)
        {
            long size = 9L * b.Y.C;
            for (long i = 0; i < size; i++)
            {
                double sum = b.Accumulate ? b.Weights[i] : 0;
                for (int chunk = 0; chunk < chunks; chunk++) sum += partial[chunk * size + i];
                b.Weights[i] = (float)sum;
            }
            partial += chunks * size;
        }
    }

    private static int Groups(in DepthwiseBranch b, int lanes) => (b.X.C + lanes - 1) / lanes;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Task<V, S>(void* context, int task, int worker)
        where V : struct, ILanes<V>
        where S : struct, ISum<S, V>
    {
        ref readonly Arguments a = ref *(Arguments*)context;
        DepthwiseBranch* branch = a.Branches;
        double* partial = a.Partials;
        int chunk = task % a.Chunks, group = task / a.Chunks;
        for (; group >= Groups(*branch, V.Count); branch++)
        {
            group -= Groups(*branch, V.Count);
            partial += 9L * a.Chunks * branch->Y.C;
        }
        ref readonly DepthwiseBranch b = ref *branch;
        partial += 9L * chunk * b.Y.C;
        long rows = (long)b.X.N * b.X.H;
        int first = (int)Simd.Start(rows, a.Chunks, chunk), end = (int)Simd.Start(rows, a.Chunks, chunk + 1);
        int c = group * V.Count, stop = Math.Min(c + V.Count, b.X.C), m = b.Multiplier;
        for (int tap = 0; tap < 9; tap++) new Span<double>(partial + (long)tap * b.Y.C + c * m, (stop - c) * m).Clear();
        if (m > 2)
        {
            Any(b, partial, c, stop, first, end);
        }
        else if (c + V.Count <= b.X.C)
        {
            if (m == 1) Single<V, S>(b, partial, c, first, end);
            else Double<V, S>(b, partial, c, first, end);
        }
        else
        {
            for (; c < stop; c++)
                if (m == 1) Single<Lanes1, Sum1>(b, partial, c, first, end);
                else Double<Lanes1, Sum1>(b, partial, c, first, end);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Carry<V, S>(ref V sum, double* p)
        where V : struct, ILanes<V>
        where S : struct, ISum<S, V>
    {
        S wide = default;
        wide.Add(sum);
        wide.AddTo(p);
        sum = default;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Single<V, S>(in DepthwiseBranch b, double* partial, int c, int first, int end)
        where V : struct, ILanes<V>
        where S : struct, ISum<S, V>
    {
        float* zeros = stackalloc float[ZeroLanes];
        new Span<float>(zeros, ZeroLanes).Clear();
        Map x = b.X, dy = b.Y;
        int width = x.W, dilation = b.Dilation, pixels = 0;
        V w0 = default, w1 = default, w2 = default, w3 = default, w4 = default, w5 = default, w6 = default, w7 = default, w8 = default;
        for (int row = first; row < end; row++)
        {
            float* p0 = DepthwiseConv.RowOrZeros(x, row, -dilation, c, zeros, out nint s0);
            float* p1 = DepthwiseConv.RowOrZeros(x, row, 0, c, zeros, out nint s1);
            float* p2 = DepthwiseConv.RowOrZeros(x, row, dilation, c, zeros, out nint s2);
            nint o0 = s0 * dilation, o1 = s1 * dilation, o2 = s2 * dilation;
            float* py = dy.Data + (long)row * width * dy.PixelStride + c;
            for (int column = 0; column < width; column++)
            {
                V g = V.Load(py);
                w1 = V.Fma(V.Load(p0), g, w1);
                w4 = V.Fma(V.Load(p1), g, w4);
                w7 = V.Fma(V.Load(p2), g, w7);
                if (column >= dilation)
                {
                    w0 = V.Fma(V.Load(p0 - o0), g, w0);
                    w3 = V.Fma(V.Load(p1 - o1), g, w3);
                    w6 = V.Fma(V.Load(p2 - o2), g, w6);
                }
                if (column + dilation < width)
                {
                    w2 = V.Fma(V.Load(p0 + o0), g, w2);
                    w5 = V.Fma(V.Load(p1 + o1), g, w5);
                    w8 = V.Fma(V.Load(p2 + o2), g, w8);
                }
                p0 += s0;
                p1 += s1;
                p2 += s2;
                py += dy.PixelStride;
            }
            if ((pixels += width) < PixelsPerSum && row + 1 < end) continue;
            pixels = 0;
            double* p = partial + c;
            Carry<V, S>(ref w0, p);
            Carry<V, S>(ref w1, p + dy.C);
            Carry<V, S>(ref w2, p + 2 * dy.C);
            Carry<V, S>(ref w3, p + 3 * dy.C);
            Carry<V, S>(ref w4, p + 4 * dy.C);
            Carry<V, S>(ref w5, p + 5 * dy.C);
            Carry<V, S>(ref w6, p + 6 * dy.C);
            Carry<V, S>(ref w7, p + 7 * dy.C);
            Carry<V, S>(ref w8, p + 8 * dy.C);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Double<V, S>(in DepthwiseBranch b, double* partial, int c, int first, int end)
        where V : struct, ILanes<V>
        where S : struct, ISum<S, V>
    {
        float* zeros = stackalloc float[ZeroLanes];
        new Span<float>(zeros, ZeroLanes).Clear();
        Map x = b.X, dy = b.Y;
        int width = x.W, dilation = b.Dilation, pixels = 0;
        V e0 = default, e1 = default, e2 = default, e3 = default, e4 = default, e5 = default, e6 = default, e7 = default, e8 = default;
        V f0 = default, f1 = default, f2 = default, f3 = default, f4 = default, f5 = default, f6 = default, f7 = default, f8 = default;
        for (int row = first; row < end; row++)
        {
            float* p0 = DepthwiseConv.RowOrZeros(x, row, -dilation, c, zeros, out nint s0);
            float* p1 = DepthwiseConv.RowOrZeros(x, row, 0, c, zeros, out nint s1);
            float* p2 = DepthwiseConv.RowOrZeros(x, row, dilation, c, zeros, out nint s2);
            nint o0 = s0 * dilation, o1 = s1 * dilation, o2 = s2 * dilation;
            float* py = dy.Data + (long)row * width * dy.PixelStride + 2 * c;
            for (int column = 0; column < width; column++)
            {
                V.Deinterleave(V.Load(py), V.Load(py + V.Count), out V g, out V h);
                V v = V.Load(p0);
                (e1, f1) = (V.Fma(v, g, e1), V.Fma(v, h, f1));
                v = V.Load(p1);
                (e4, f4) = (V.Fma(v, g, e4), V.Fma(v, h, f4));
                v = V.Load(p2);
                (e7, f7) = (V.Fma(v, g, e7), V.Fma(v, h, f7));
                if (column >= dilation)
                {
                    v = V.Load(p0 - o0);
                    (e0, f0) = (V.Fma(v, g, e0), V.Fma(v, h, f0));
                    v = V.Load(p1 - o1);
                    (e3, f3) = (V.Fma(v, g, e3), V.Fma(v, h, f3));
                    v = V.Load(p2 - o2);
                    (e6, f6) = (V.Fma(v, g, e6), V.Fma(v, h, f6));
                }
                if (column + dilation < width)
                {
                    v = V.Load(p0 + o0);
                    (e2, f2) = (V.Fma(v, g, e2), V.Fma(v, h, f2));
                    v = V.Load(p1 + o1);
                    (e5, f5) = (V.Fma(v, g, e5), V.Fma(v, h, f5));
                    v = V.Load(p2 + o2);
                    (e8, f8) = (V.Fma(v, g, e8), V.Fma(v, h, f8));
                }
                p0 += s0;
                p1 += s1;
                p2 += s2;
                py += dy.PixelStride;
            }
            if ((pixels += width) < PixelsPerSum && row + 1 < end) continue;
            pixels = 0;
            double* p = partial + 2 * c;
            CarryPair<V, S>(ref e0, ref f0, p);
            CarryPair<V, S>(ref e1, ref f1, p + dy.C);
            CarryPair<V, S>(ref e2, ref f2, p + 2 * dy.C);
            CarryPair<V, S>(ref e3, ref f3, p + 3 * dy.C);
            CarryPair<V, S>(ref e4, ref f4, p + 4 * dy.C);
            CarryPair<V, S>(ref e5, ref f5, p + 5 * dy.C);
            CarryPair<V, S>(ref e6, ref f6, p + 6 * dy.C);
            CarryPair<V, S>(ref e7, ref f7, p + 7 * dy.C);
            CarryPair<V, S>(ref e8, ref f8, p + 8 * dy.C);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void CarryPair<V, S>(ref V even, ref V odd, double* p)
        where V : struct, ILanes<V>
        where S : struct, ISum<S, V>
    {
        V.Interleave(even, odd, out V low, out V high);
        Carry<V, S>(ref low, p);
        Carry<V, S>(ref high, p + V.Count);
        (even, odd) = (default, default);
    }

    private static void Any(in DepthwiseBranch b, double* partial, int firstChannel, int stopChannel, int first, int end)
    {
        Map x = b.X, dy = b.Y;
        for (int row = first; row < end; row++)
        for (int column = 0; column < x.W; column++)
        for (int tap = 0; tap < 9; tap++)
        {
            int dr = (tap / 3 - 1) * b.Dilation, dc = (tap % 3 - 1) * b.Dilation, r = row % x.H + dr;
            if (r < 0 || r >= x.H || column + dc < 0 || column + dc >= x.W) continue;
            float* px = x.Data + ((long)(row + dr) * x.W + column + dc) * x.PixelStride;
            float* py = dy.Data + ((long)row * x.W + column) * dy.PixelStride;
            for (int o = firstChannel * b.Multiplier; o < stopChannel * b.Multiplier; o++)
                partial[(long)tap * dy.C + o] += (double)px[o / b.Multiplier] * py[o];
        }
    }

    public void Dispose()
    {
        Simd.Free(_partials);
        _partials = null;
    }
}
