using System.Runtime.CompilerServices;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// Cross-entropy with online hard example mining: the mean over the valid pixels whose loss exceeds −ln(threshold) or, where fewer than
/// ⌊minKept · valid⌋ do, over that many of the hardest (of equal ones the first). Also each pixel's weight in it, 1/kept or 0.
/// </summary>
/// <remarks>
/// Pixels are taken a vector at a time, transposed so that a class is a vector. Losses are kept in scratch; only where pixels must be
/// filled up is the boundary looked for, digit by digit in histograms of the losses' bits, which order as the losses do. A NaN counts as
/// the hardest: it shows in the loss.
/// </remarks>
internal sealed unsafe class OhemCrossEntropy : IDisposable
{
    private const int MostTasks = 32, Buckets = 2048;
    private const float Ignored = -1;
    private const uint NaNBits = 0x7FC00000;

    private readonly long _pixels;
    private float* _losses;
    private Partial* _partials;
    private int* _histograms;

    /// <summary>For batches of up to so many pixels.</summary>
    public OhemCrossEntropy(long pixels)
    {
        _pixels = pixels;
        _losses = Simd.Allocate<float>(pixels);
        _partials = Simd.Allocate<Partial>(MostTasks);
        _histograms = Simd.Allocate<int>(MostTasks * Buckets);
    }

    private struct Partial
    {
        public long Valid, Hard, Wrong, FirstTie;
        public double Sum;
    }

    private struct Arguments
    {
        public Map Logits;
        public byte* Labels;
        public byte Ignore;
        public float Cutoff;
        public float* Losses, Weights;
        public Partial* Partials;
        public int* Histograms;
        public int Tasks, Shift;
        public uint Prefix, Mask;
        public float Weight;
        public uint Boundary;
        public long Ties;
    }

    /// <summary>
    /// Writes the loss and the weights, one a pixel. A threshold of 1 keeps every valid pixel. Where no pixel is kept, the loss and all
    /// weights are 0.
    /// </summary>
    /// <exception cref="InvalidDataException">A label is neither a class nor the ignored id.</exception>
    public void Run(
        WorkerPool pool, Map logits, byte* labels, byte ignore, float threshold, double minKept, float* loss, float* weights)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(logits.Pixels, _pixels);
        Arguments a = new()
        {
            Logits = logits, Labels = labels, Ignore = ignore, Losses = _losses, Weights = weights, Partials = _partials,
            Histograms = _histograms, Tasks = Simd.Tasks(logits.Pixels * logits.C * 4, MostTasks),
            // Losses are not negative, so that this keeps all but the ignored.
            Cutoff = threshold >= 1 ? Ignored : (float)-Math.Log(threshold),
        };
        pool.Run(a.Tasks, Simd.IsWide ? &LossTask<Lanes16> : &LossTask<Lanes8>, &a);

        long valid = 0, kept = 0;
        double sum = 0;
        for (int task = 0; task < a.Tasks; task++)
        {
            if (_partials[task].Wrong is var wrong and >= 0)
                throw Graph.OhemCrossEntropy.WrongLabel(labels[wrong], wrong, logits.W, logits.H, logits.C, ignore);
            valid += _partials[task].Valid;
            kept += _partials[task].Hard;
            sum += _partials[task].Sum;
        }
        long least = (long)(valid * minKept);
        if (kept < least)
        {
            FindBoundary(pool, ref a, least);
            a.Weight = 1f / least;
            pool.Run(a.Tasks, &FilledWeightsTask, &a);
            (kept, sum) = (least, 0);
            for (int task = 0; task < a.Tasks; task++) sum += _partials[task].Sum;
        }
        else
        {
            a.Weight = kept > 0 ? 1f / kept : 0;
            pool.Run(a.Tasks, &WeightsTask, &a);
        }
        *loss = kept > 0 ? (float)(sum / kept) : 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void LossTask<V>(void* context, int task, int worker)
        where V : struct, ILanes<V>
    {
        ref readonly Arguments a = ref *(Arguments*)context;
        Map logits = a.Logits;
        int classes = logits.C;
        float* tile = stackalloc float[classes * V.Count], results = stackalloc float[V.Count];
        Partial partial = new() { Wrong = -1 };
        long end = Simd.Start(logits.Pixels, a.Tasks, task + 1);
        for (long pixel = Simd.Start(logits.Pixels, a.Tasks, task); pixel < end; pixel += V.Count)
        {
            int count = (int)Math.Min(V.Count, end - pixel);
            LogitTile.Load(logits, pixel, count, V.Count, tile);
            V max = LogitTile.Max<V>(tile, classes), sum = default;
            for (int c = 0; c < classes; c++) sum += V.ExpOfNegative(V.Load(tile + c * V.Count) - max);
            for (int i = 0; i < V.Count; i++)
            {
                byte label = a.Labels[pixel + Math.Min(i, count - 1)];
                results[i] = label < classes ? tile[label * V.Count + i] : 0;
            }
            (V.Log(sum) + (max - V.Load(results))).Store(results);
            for (int i = 0; i < count; i++)
            {
                byte label = a.Labels[pixel + i];
                float loss = results[i];
                if (label >= classes || label == a.Ignore)
                {
                    if (label != a.Ignore && partial.Wrong < 0) partial.Wrong = pixel + i;
                    a.Losses[pixel + i] = Ignored;
                    continue;
                }
                if (float.IsNaN(loss)) loss = BitConverter.UInt32BitsToSingle(NaNBits);
                a.Losses[pixel + i] = loss;
                partial.Valid++;
                if (loss <= a.Cutoff) continue;
                partial.Hard++;
                partial.Sum += loss;
            }
        }
        a.Partials[task] = partial;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void WeightsTask(void* context, int task, int worker)
    {
        ref readonly Arguments a = ref *(Arguments*)context;
        float* losses = a.Losses, weights = a.Weights;
        float cutoff = a.Cutoff, weight = a.Weight;
        long end = Simd.Start(a.Logits.Pixels, a.Tasks, task + 1);
        for (long i = Simd.Start(a.Logits.Pixels, a.Tasks, task); i < end; i++) weights[i] = losses[i] <= cutoff ? 0 : weight;
    }

    /// <summary>Finds the loss of which only some of the equal pixels are kept, how many, and which of them each task sees first.</summary>
    private void FindBoundary(WorkerPool pool, ref Arguments arguments, long least)
    {
        Arguments a = arguments;
        long wanted = least;
        for (int shift = 20; ; shift -= 10)
        {
            a.Shift = shift;
            pool.Run(a.Tasks, &HistogramTask, &a);
            uint bucket = Buckets - 1;
            for (; ; bucket--)
            {
                long count = 0;
                for (int task = 0; task < a.Tasks; task++) count += _histograms[task * Buckets + bucket];
                if (count >= wanted) break;
                wanted -= count;
            }
            a.Prefix |= bucket << shift;
            a.Mask |= (Buckets - 1u) << shift;
            if (shift > 0) continue;
            long ties = 0;
            for (int task = 0; task < a.Tasks; task++)
            {
                _partials[task].FirstTie = ties;
                ties += _histograms[task * Buckets + bucket];
            }
            break;
        }
        (a.Boundary, a.Ties) = (a.Prefix, wanted);
        arguments = a;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void HistogramTask(void* context, int task, int worker)
    {
        ref readonly Arguments a = ref *(Arguments*)context;
        uint* bits = (uint*)a.Losses;
        uint prefix = a.Prefix, mask = a.Mask | 0x80000000;
        int shift = a.Shift;
        int* histogram = a.Histograms + (long)task * Buckets;
        new Span<int>(histogram, Buckets).Clear();
        long end = Simd.Start(a.Logits.Pixels, a.Tasks, task + 1);
        for (long i = Simd.Start(a.Logits.Pixels, a.Tasks, task); i < end; i++)
            if ((bits[i] & mask) == prefix) histogram[(bits[i] >> shift) & (Buckets - 1)]++;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FilledWeightsTask(void* context, int task, int worker)
    {
        ref readonly Arguments a = ref *(Arguments*)context;
        float* losses = a.Losses;
        long tie = a.Partials[task].FirstTie;
        double sum = 0;
        long end = Simd.Start(a.Logits.Pixels, a.Tasks, task + 1);
        for (long i = Simd.Start(a.Logits.Pixels, a.Tasks, task); i < end; i++)
        {
            uint bits = BitConverter.SingleToUInt32Bits(losses[i]);
            bool valid = (int)bits >= 0, keep = valid && (bits > a.Boundary || (bits == a.Boundary && tie++ < a.Ties));
            a.Weights[i] = keep ? a.Weight : 0;
            if (keep) sum += losses[i];
        }
        a.Partials[task].Sum = sum;
    }

    public void Dispose()
    {
        Simd.Free(_losses);
        Simd.Free(_partials);
        Simd.Free(_histograms);
        _losses = null;
        _partials = null;
        _histograms = null;
    }
}

/// <summary>Gradient of a weighted cross-entropy: dlogits = weight · (softmax − one-hot) · dLoss, written or added.</summary>
internal static unsafe class CrossEntropyGradient
{
    private struct Arguments
    {
        public Map Logits, Gradient;
        public byte* Labels;
        public float* Weights;
        public float Loss;
        public int Tasks;
        public bool Accumulate;
    }

    /// <summary>The label of a pixel of weight 0 is not read, its logits may be anything.</summary>
    public static void Run(WorkerPool pool, Map logits, byte* labels, float* weights, float* dLoss, Map dlogits, bool accumulate)
    {
        Arguments a = new()
        {
            Logits = logits, Gradient = dlogits, Labels = labels, Weights = weights, Loss = *dLoss, Accumulate = accumulate,
            Tasks = Simd.Tasks(logits.Pixels * logits.C * 4, logits.Pixels),
        };
        pool.Run(a.Tasks, Simd.IsWide ? &Task<Lanes16> : &Task<Lanes8>, &a);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Task<V>(void* context, int task, int worker)
        where V : struct, ILanes<V>
    {
        ref readonly Arguments a = ref *(Arguments*)context;
        Map logits = a.Logits, gradient = a.Gradient;
        int classes = logits.C;
        float* tile = stackalloc float[classes * V.Count], factors = stackalloc float[V.Count];
        long end = Simd.Start(logits.Pixels, a.Tasks, task + 1);
        for (long pixel = Simd.Start(logits.Pixels, a.Tasks, task); pixel < end; pixel += V.Count)
        {
            int count = (int)Math.Min(V.Count, end - pixel);
            bool any = false;
            for (int i = 0; i < V.Count; i++)
            {
                float weight = i < count ? a.Weights[pixel + i] : 0;
                factors[i] = weight * a.Loss;
                any |= weight != 0;
            }
            if (any)
            {
                LogitTile.Load(logits, pixel, count, V.Count, tile);
                V max = LogitTile.Max<V>(tile, classes), sum = default;
                for (int c = 0; c < classes; c++)
                {
                    V e = V.ExpOfNegative(V.Load(tile + c * V.Count) - max);
                    e.Store(tile + c * V.Count);
                    sum += e;
                }
                V factor = V.Load(factors) / sum;
                for (int c = 0; c < classes; c++) (V.Load(tile + c * V.Count) * factor).Store(tile + c * V.Count);
            }
            for (int i = 0; i < count; i++)
            {
                float* p = gradient.Data + (pixel + i) * gradient.PixelStride;
                if (a.Weights[pixel + i] == 0)
                {
                    if (!a.Accumulate) new Span<float>(p, classes).Clear();
                    continue;
                }
                byte label = a.Labels[pixel + i];
                if (label < classes) tile[label * V.Count + i] -= factors[i];
                float* t = tile + i;
                if (a.Accumulate)
                    for (int c = 0; c < classes; c++, t += V.Count) p[c] += *t;
                else
                    for (int c = 0; c < classes; c++, t += V.Count) p[c] = *t;
            }
        }
    }
}

/// <summary>The logits of a few pixels, transposed: a class's values of all pixels lie side by side.</summary>
internal static unsafe class LogitTile
{
    /// <summary>Fills <paramref name="lanes"/> columns; those past <paramref name="count"/> repeat the last pixel.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Load(Map logits, long pixel, int count, int lanes, float* tile)
    {
        float* p = logits.Data + pixel * logits.PixelStride;
        for (int i = 0; i < lanes; i++)
        {
            float* t = tile + i;
            for (int c = 0; c < logits.C; c++, t += lanes) *t = p[c];
            if (i + 1 < count) p += logits.PixelStride;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Max<V>(float* tile, int classes)
        where V : struct, ILanes<V>
    {
        V max = V.Load(tile);
        for (int c = 1; c < classes; c++) max = V.Max(max, V.Load(tile + c * V.Count));
        return max;
    }
}
