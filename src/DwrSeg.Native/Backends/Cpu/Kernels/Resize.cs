using System.Runtime.CompilerServices;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// Bilinear resampling with half-pixel centres (PyTorch's <c>align_corners=False</c>) of maps of one size to another, and its transpose.
/// </summary>
/// <remarks>
/// Forward, each output row is made in two steps: two input rows are blended into a scratch row, then neighbours in it into pixels.
/// Backward, each row of dy is reduced along the width into a scratch row that is then added to the two rows of dx it came from; a task
/// owns a band of rows of dx.
/// </remarks>
internal sealed unsafe class Resize : IDisposable
{
    private const int Padding = 32;

    private readonly BilinearAxis _rows = new(), _columns = new();
    private readonly int _channels;
    private readonly long _scratchStride;
    private float* _scratch;

    // Column i of dx gets Σ _coefficients[k]·dy[_first[i] + k − _offsets[i]], k from _offsets[i] to _offsets[i + 1].
    private int* _first, _offsets;
    private float* _coefficients;

    /// <summary>For maps of up to so many channels and runs on a pool of up to so many workers.</summary>
    public Resize(int fromHeight, int fromWidth, int toHeight, int toWidth, int channels, int workers)
    {
        _channels = channels;
        _rows.Set(fromHeight, toHeight);
        _columns.Set(fromWidth, toWidth);
        _scratchStride = ((long)fromWidth * channels + 2 * Padding) & ~15L;
        _scratch = Simd.Allocate<float>(_scratchStride * workers);
        _first = Simd.Allocate<int>(fromWidth);
        _offsets = Simd.Allocate<int>(fromWidth + 1);
        _coefficients = Simd.Allocate<float>(2L * toWidth);
        int count = 0;
        for (int i = 0, start = 0; i < fromWidth; i++)
        {
            while (start < toWidth && _columns.High(start) < i) start++;
            _first[i] = start;
            for (int k = start; k < toWidth && _columns.Low[k] <= i; k++)
            {
                float weight = _columns.Weight[k];
                _coefficients[count++] = (_columns.Low[k] == i ? 1 - weight : 0) + (_columns.High(k) == i ? weight : 0);
            }
            _offsets[i + 1] = count;
        }
    }

    private struct Arguments
    {
        public Map X, Y;
        public float* Scale, Shift, Scratch, Coefficients, RowWeight, ColumnWeight;
        public int* RowLow, ColumnLow, First, Offsets;
        public long ScratchStride;
        public int Tasks;
        public bool Accumulate;
    }

    /// <summary>y = resized x, or resized x·scale + shift per channel where these are not null.</summary>
    public void Run(WorkerPool pool, Map x, Map y, float* scale = null, float* shift = null)
    {
        Arguments a = Prepare(x, y);
        a.Tasks = Simd.Tasks(Math.Max(y.Pixels, x.Pixels) * y.C, (long)y.N * y.H);
        a.Scale = scale;
        a.Shift = shift;
        pool.Run(a.Tasks, Simd.IsWide ? &Forward<Lanes16> : &Forward<Lanes8>, &a);
    }

    /// <summary>dx = the transpose of <see cref="Run"/> (without scale and shift) applied to dy, written or added.</summary>
    public void Gradient(WorkerPool pool, Map dy, Map dx, bool accumulate)
    {
        Arguments a = Prepare(dx, dy);
        // A band also visits the rows of dy that it shares with its neighbours, so it must not be too thin.
        (a.Tasks, a.Accumulate) = (Simd.Tasks(Math.Max(dy.Pixels, dx.Pixels) * dy.C, (long)dx.N * ((dx.H + 3) / 4)), accumulate);
        pool.Run(a.Tasks, Simd.IsWide ? &Backward<Lanes16> : &Backward<Lanes8>, &a);
    }

    private Arguments Prepare(Map x, Map y)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(x.C, _channels);
        ArgumentOutOfRangeException.ThrowIfNotEqual((x.H, x.W, y.H, y.W), (_rows.From, _columns.From, _rows.To, _columns.To));
        return new Arguments
        {
            X = x, Y = y, Scratch = _scratch, ScratchStride = _scratchStride,
            Coefficients = _coefficients, First = _first, Offsets = _offsets,
            RowLow = _rows.Low, RowWeight = _rows.Weight, ColumnLow = _columns.Low, ColumnWeight = _columns.Weight,
        };
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Forward<V>(void* context, int task, int worker)
        where V : struct, ILanes<V>
    {
        ref readonly Arguments a = ref *(Arguments*)context;
        Map x = a.X, y = a.Y;
        float* blended = a.Scratch + worker * a.ScratchStride;
        long rows = (long)y.N * y.H, end = Simd.Start(rows, a.Tasks, task + 1);
        for (long row = Simd.Start(rows, a.Tasks, task); row < end; row++)
        {
            int n = (int)(row / y.H), i = (int)(row % y.H), low = a.RowLow[i];
            BlendRows<V>(x, x.Row(n, low), x.Row(n, Math.Min(low + 1, x.H - 1)), a.RowWeight[i], a.Scale, a.Shift, blended);
            BlendColumns<V>(blended, x.W, a.ColumnLow, a.ColumnWeight, y, y.Row(n, i));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void BlendRows<V>(Map x, float* low, float* high, float weight, float* scale, float* shift, float* blended)
        where V : struct, ILanes<V>
    {
        bool dense = x.PixelStride == x.C && scale == null;
        int runs = dense ? 1 : x.W, run = dense ? x.W * x.C : x.C;
        for (int r = 0; r < runs; r++, low += x.PixelStride, high += x.PixelStride, blended += run)
        {
            int c = 0;
            for (; c + V.Count <= run; c += V.Count) Blend<V>(low + c, high + c, weight, scale, shift, c).Store(blended + c);
            for (; c < run; c++) Blend<Lanes1>(low + c, high + c, weight, scale, shift, c).Store(blended + c);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Blend<V>(float* low, float* high, float weight, float* scale, float* shift, int c)
        where V : struct, ILanes<V>
    {
        V a = V.Load(low), value = V.Fma(V.Load(high) - a, V.Splat(weight), a);
        return scale == null ? value : V.Fma(value, V.Load(scale + c), V.Load(shift + c));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void BlendColumns<V>(float* row, int width, int* columnLow, float* columnWeight, Map y, float* py)
        where V : struct, ILanes<V>
    {
        int channels = y.C, stride = y.PixelStride, to = y.W;
        // Few channels, dense: a vector may spill into the next pixels, which are written after it.
        bool spills = channels < V.Count && stride == channels && to * channels >= V.Count;
        int spill = spills ? (to * channels - V.Count) / channels + 1 : 0, i = 0;
        for (; i < spill; i++, py += stride)
        {
            float* low = row + (long)columnLow[i] * channels, high = row + (long)Math.Min(columnLow[i] + 1, width - 1) * channels;
            V a = V.Load(low);
            V.Fma(V.Load(high) - a, V.Splat(columnWeight[i]), a).Store(py);
        }
        for (; i < to; i++, py += stride)
        {
            float* low = row + (long)columnLow[i] * channels, high = row + (long)Math.Min(columnLow[i] + 1, width - 1) * channels;
            V weight = V.Splat(columnWeight[i]);
            int c = 0;
            for (; c + V.Count <= channels; c += V.Count)
            {
                V a = V.Load(low + c);
                V.Fma(V.Load(high + c) - a, weight, a).Store(py + c);
            }
            if (c < channels && channels >= V.Count)
            {
                c = channels - V.Count;
                V a = V.Load(low + c);
                V.Fma(V.Load(high + c) - a, weight, a).Store(py + c);
                continue;
            }
            for (; c < channels; c++) py[c] = MathF.FusedMultiplyAdd(high[c] - low[c], columnWeight[i], low[c]);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Backward<V>(void* context, int task, int worker)
        where V : struct, ILanes<V>
    {
        ref readonly Arguments a = ref *(Arguments*)context;
        Map dx = a.X, dy = a.Y;
        float* reduced = a.Scratch + worker * a.ScratchStride;
        float* readable = dy.Data + (dy.Pixels - 1) * dy.PixelStride + dy.C;
        long rows = (long)dx.N * dx.H, row = Simd.Start(rows, a.Tasks, task), end = Simd.Start(rows, a.Tasks, task + 1);
        while (row < end)
        {
            int n = (int)(row / dx.H), first = (int)(row % dx.H), stop = (int)Math.Min(dx.H, first + (end - row));
            row += stop - first;
            if (!a.Accumulate)
                for (int r = first; r < stop; r++) Clear(dx, dx.Row(n, r));
            int i = LowerBound(a.RowLow, dy.H, first - 1);
            for (; i < dy.H && a.RowLow[i] < stop; i++)
            {
                int low = a.RowLow[i], high = Math.Min(low + 1, dx.H - 1);
                bool toLow = low >= first, toHigh = high != low && high >= first && high < stop;
                if (!toLow && !toHigh) continue;
                ReduceColumns<V>(dy, dy.Row(n, i), readable, dx.W, a.First, a.Offsets, a.Coefficients, reduced);
                float weight = a.RowWeight[i];
                if (toLow) AddRow<V>(reduced, high == low ? 1 : 1 - weight, dx, dx.Row(n, low));
                if (toHigh) AddRow<V>(reduced, weight, dx, dx.Row(n, high));
            }
        }
    }

    private static void Clear(Map dx, float* row)
    {
        if (dx.PixelStride == dx.C) new Span<float>(row, dx.W * dx.C).Clear();
        else for (int i = 0; i < dx.W; i++, row += dx.PixelStride) new Span<float>(row, dx.C).Clear();
    }

    /// <summary>First index whose value is at least <paramref name="value"/>.</summary>
    private static int LowerBound(int* sorted, int count, int value)
    {
        int low = 0, high = count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (sorted[middle] < value) low = middle + 1;
            else high = middle;
        }
        return low;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ReduceColumns<V>(
        Map dy, float* py, float* readable, int width, int* first, int* offsets, float* coefficients, float* reduced)
        where V : struct, ILanes<V>
    {
        int channels = dy.C, stride = dy.PixelStride;
        for (int i = 0; i < width; i++, reduced += channels)
        {
            int count = offsets[i + 1] - offsets[i];
            float* from = py + (long)first[i] * stride;
            float* k = coefficients + offsets[i];
            int c = 0;
            for (; c + 4 * V.Count <= channels; c += 4 * V.Count)
            {
                V s0 = default, s1 = default, s2 = default, s3 = default;
                float* p = from + c;
                for (int j = 0; j < count; j++, p += stride)
                {
                    V coefficient = V.Splat(k[j]);
                    s0 = V.Fma(V.Load(p), coefficient, s0);
                    s1 = V.Fma(V.Load(p + V.Count), coefficient, s1);
                    s2 = V.Fma(V.Load(p + 2 * V.Count), coefficient, s2);
                    s3 = V.Fma(V.Load(p + 3 * V.Count), coefficient, s3);
                }
                s0.Store(reduced + c);
                s1.Store(reduced + c + V.Count);
                s2.Store(reduced + c + 2 * V.Count);
                s3.Store(reduced + c + 3 * V.Count);
            }
            // The last vector may spill: the scratch row's next pixel is written after it, and what it reads exists.
            while (c < channels && (c + V.Count <= channels || from + (long)Math.Max(count - 1, 0) * stride + c + V.Count <= readable))
            {
                V sum = default;
                float* p = from + c;
                for (int j = 0; j < count; j++, p += stride) sum = V.Fma(V.Load(p), V.Splat(k[j]), sum);
                sum.Store(reduced + c);
                c += V.Count;
            }
            for (; c < channels; c++)
            {
                float sum = 0;
                for (int j = 0; j < count; j++) sum = MathF.FusedMultiplyAdd(from[(long)j * stride + c], k[j], sum);
                reduced[c] = sum;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddRow<V>(float* reduced, float weight, Map dx, float* px)
        where V : struct, ILanes<V>
    {
        bool dense = dx.PixelStride == dx.C;
        int runs = dense ? 1 : dx.W, run = dense ? dx.W * dx.C : dx.C;
        for (int r = 0; r < runs; r++, px += dx.PixelStride, reduced += run)
        {
            int c = 0;
            for (; c + V.Count <= run; c += V.Count) V.Fma(V.Load(reduced + c), V.Splat(weight), V.Load(px + c)).Store(px + c);
            for (; c < run; c++) px[c] = MathF.FusedMultiplyAdd(reduced[c], weight, px[c]);
        }
    }

    public void Dispose()
    {
        _rows.Dispose();
        _columns.Dispose();
        Simd.Free(_scratch);
        Simd.Free(_first);
        Simd.Free(_offsets);
        Simd.Free(_coefficients);
        _scratch = null;
        _first = null;
        _offsets = null;
        _coefficients = null;
    }
}
