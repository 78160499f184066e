using System.Runtime.CompilerServices;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// Batch normalisation, y = (x − mean)·gamma/√(variance + epsilon) + beta, optionally with the ReLU after it. One instance serves all
/// layers of a plan, one at a time.
/// </summary>
/// <remarks>
/// Training reads x twice and writes y once; the gradient reads x and dy (and, where the ReLU's mask comes from y, y) twice and writes
/// dx once. Sums are in fp64.
/// </remarks>
internal sealed unsafe class BatchNorm : IDisposable
{
    private const int Rows = 6;

    private readonly ChannelSums _sums;
    private readonly int _channels;
    private float* _constants;

    /// <param name="channels">Most channels of any map.</param>
    public BatchNorm(int channels)
    {
        _channels = channels;
        _sums = new ChannelSums(channels);
        _constants = Simd.Allocate<float>((long)Rows * channels);
    }

    /// <summary>y = x·scale + shift per channel. y may be x.</summary>
    public static void Affine(WorkerPool pool, Map x, float* scale, float* shift, Map y, bool relu)
    {
        int tasks = Simd.Tasks(x.Pixels * x.C, x.Pixels);
        AffineArguments a = new() { X = x, Y = y, Scale = scale, Shift = shift, Tasks = tasks };
        if (relu) pool.Run(tasks, Simd.IsWide ? &AffineTask<Lanes16, Yes> : &AffineTask<Lanes8, Yes>, &a);
        else pool.Run(tasks, Simd.IsWide ? &AffineTask<Lanes16, No> : &AffineTask<Lanes8, No>, &a);
    }

    /// <summary>Normalises with running statistics. y may be x.</summary>
    public void Infer(
        WorkerPool pool, Map x, float* gamma, float* beta, float* mean, float* variance, float epsilon, Map y, bool relu)
    {
        float* scale = Row(0), shift = Row(1);
        for (int c = 0; c < x.C; c++)
        {
            double s = gamma[c] / Math.Sqrt((double)variance[c] + epsilon);
            scale[c] = (float)s;
            shift[c] = (float)(beta[c] - mean[c] * s);
        }
        Affine(pool, x, scale, shift, y, relu);
    }

    /// <summary>
    /// Normalises with the batch's statistics (biased variance), keeps them for the gradient, and moves the running ones by
    /// <paramref name="momentum"/> towards the mean and the unbiased variance (of a single value: the biased one, 0). y may be x.
    /// </summary>
    public void Train(
        WorkerPool pool, Map x, float* gamma, float* beta, float* runningMean, float* runningVariance, float epsilon, float momentum,
        Map y, float* mean, float* inverseDeviation, bool relu)
    {
        _sums.Run(pool, new Moments(x), x.Pixels, x.C, x.PixelStride);
        double count = x.Pixels, unbiased = count / Math.Max(count - 1, 1);
        for (int c = 0; c < x.C; c++)
        {
            double m = _sums.First[c] / count, v = Math.Max(_sums.Second[c] / count - m * m, 0);
            mean[c] = (float)m;
            inverseDeviation[c] = (float)(1 / Math.Sqrt(v + epsilon));
            runningMean[c] = (float)(runningMean[c] + momentum * (m - runningMean[c]));
            runningVariance[c] = (float)(runningVariance[c] + momentum * (v * unbiased - runningVariance[c]));
        }
        ScaleAndShift(x.C, gamma, beta, mean, inverseDeviation);
        Affine(pool, x, Row(0), Row(1), y, relu);
    }

    /// <summary>
    /// Gradient of <see cref="Train"/>: dx (written or added; may be dy), dgamma and dbeta (written). Where a ReLU follows, dy is the
    /// gradient of its output and counts only where it let pass: <see cref="ReluMask.FromOutput"/> reads y,
    /// <see cref="ReluMask.FromInput"/> beta; what is not read may be default.
    /// </summary>
    public void Backward(
        WorkerPool pool, Map x, float* gamma, float* beta, float* mean, float* inverseDeviation, Map y, Map dy, ReluMask relu, Map dx,
        float* dgamma, float* dbeta, bool accumulate)
    {
        switch (relu)
        {
            case ReluMask.None:
                Backward(pool, new NoMask(), x, gamma, mean, inverseDeviation, dy, dx, dgamma, dbeta, accumulate);
                break;
            case ReluMask.FromOutput:
                Backward(pool, new OutputMask(y), x, gamma, mean, inverseDeviation, dy, dx, dgamma, dbeta, accumulate);
                break;
            default:
                ScaleAndShift(x.C, gamma, beta, mean, inverseDeviation);
                Backward(pool, new InputMask(Row(0), Row(1)), x, gamma, mean, inverseDeviation, dy, dx, dgamma, dbeta, accumulate);
                break;
        }
    }

    private void Backward<TMask>(
        WorkerPool pool, TMask mask, Map x, float* gamma, float* mean, float* inverseDeviation, Map dy, Map dx, float* dgamma, float* dbeta,
        bool accumulate)
        where TMask : unmanaged, IMask
    {
        _sums.Run(pool, new GradientTerms<TMask>(mask, x, dy, mean), x.Pixels, x.C, Math.Max(x.PixelStride, dy.PixelStride));
        float* onDy = Row(2), onX = Row(3), constant = Row(4);
        double count = x.Pixels;
        for (int c = 0; c < x.C; c++)
        {
            double inverse = inverseDeviation[c], sum = _sums.First[c], product = _sums.Second[c] * inverse, k = gamma[c] * inverse;
            dbeta[c] = (float)sum;
            dgamma[c] = (float)product;
            onDy[c] = (float)k;
            onX[c] = (float)(-k * inverse * product / count);
            constant[c] = (float)(-k * sum / count);
        }
        int tasks = Simd.Tasks(x.Pixels * x.C, x.Pixels);
        BackwardArguments<TMask> a = new()
        {
            Mask = mask, X = x, Dy = dy, Dx = dx, Mean = mean, OnDy = onDy, OnX = onX, Constant = constant, Tasks = tasks,
        };
        if (accumulate) pool.Run(tasks, Simd.IsWide ? &BackwardTask<TMask, Lanes16, Yes> : &BackwardTask<TMask, Lanes8, Yes>, &a);
        else pool.Run(tasks, Simd.IsWide ? &BackwardTask<TMask, Lanes16, No> : &BackwardTask<TMask, Lanes8, No>, &a);
    }

    // From the stored fp32 statistics, so that the gradient sees the signs that the forward pass saw.
    private void ScaleAndShift(int channels, float* gamma, float* beta, float* mean, float* inverseDeviation)
    {
        float* scale = Row(0), shift = Row(1);
        for (int c = 0; c < channels; c++)
        {
            scale[c] = (float)((double)gamma[c] * inverseDeviation[c]);
            shift[c] = (float)(beta[c] - (double)mean[c] * scale[c]);
        }
    }

    private float* Row(int row) => _constants + (long)row * _channels;

    private struct AffineArguments
    {
        public Map X, Y;
        public float* Scale, Shift;
        public int Tasks;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AffineTask<V, TRelu>(void* context, int task, int worker)
        where V : struct, ILanes<V>
        where TRelu : struct, IFlag
    {
        ref readonly AffineArguments a = ref *(AffineArguments*)context;
        Map x = a.X, y = a.Y;
        float* scale = a.Scale, shift = a.Shift;
        int channels = x.C;
        long end = Simd.Start(x.Pixels, a.Tasks, task + 1);
        for (long pixel = Simd.Start(x.Pixels, a.Tasks, task); pixel < end; pixel++)
        {
            float* px = x.Data + pixel * x.PixelStride, py = y.Data + pixel * y.PixelStride;
            int c = 0;
            for (; c + V.Count <= channels; c += V.Count) Scale<V, TRelu>(px + c, scale + c, shift + c, py + c);
            for (; c < channels; c++) Scale<Lanes1, TRelu>(px + c, scale + c, shift + c, py + c);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Scale<V, TRelu>(float* x, float* scale, float* shift, float* y)
        where V : struct, ILanes<V>
        where TRelu : struct, IFlag
    {
        V value = V.Fma(V.Load(x), V.Load(scale), V.Load(shift));
        (TRelu.Set ? V.Relu(value) : value).Store(y);
    }

    private struct BackwardArguments<TMask>
    {
        public TMask Mask;
        public Map X, Dy, Dx;
        public float* Mean, OnDy, OnX, Constant;
        public int Tasks;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void BackwardTask<TMask, V, TAccumulate>(void* context, int task, int worker)
        where TMask : unmanaged, IMask
        where V : struct, ILanes<V>
        where TAccumulate : struct, IFlag
    {
        ref readonly BackwardArguments<TMask> a = ref *(BackwardArguments<TMask>*)context;
        BackwardArguments<TMask> local = a;
        int channels = local.X.C;
        long end = Simd.Start(local.X.Pixels, local.Tasks, task + 1);
        for (long pixel = Simd.Start(local.X.Pixels, local.Tasks, task); pixel < end; pixel++)
        {
            int c = 0;
            for (; c + V.Count <= channels; c += V.Count) BackwardAt<TMask, V, TAccumulate>(in local, pixel, c);
            for (; c < channels; c++) BackwardAt<TMask, Lanes1, TAccumulate>(in local, pixel, c);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void BackwardAt<TMask, V, TAccumulate>(in BackwardArguments<TMask> a, long pixel, int c)
        where TMask : unmanaged, IMask
        where V : struct, ILanes<V>
        where TAccumulate : struct, IFlag
    {
        V x = V.Load(a.X.Data + pixel * a.X.PixelStride + c), dy = V.Load(a.Dy.Data + pixel * a.Dy.PixelStride + c);
        V masked = a.Mask.Apply(pixel, c, x, dy);
        V dx = V.Fma(masked, V.Load(a.OnDy + c), V.Fma(x - V.Load(a.Mean + c), V.Load(a.OnX + c), V.Load(a.Constant + c)));
        float* p = a.Dx.Data + pixel * a.Dx.PixelStride + c;
        (TAccumulate.Set ? V.Load(p) + dx : dx).Store(p);
    }

    private readonly struct Moments(Map x) : IChannelTerms
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Add<V, S>(long pixel, int channel, ref S first, ref S second)
            where V : struct, ILanes<V>
            where S : struct, ISum<S, V>
        {
            V value = V.Load(x.Data + pixel * x.PixelStride + channel);
            first.Add(value);
            second.AddSquare(value);
        }
    }

    private readonly struct GradientTerms<TMask>(TMask mask, Map x, Map dy, float* mean) : IChannelTerms
        where TMask : unmanaged, IMask
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Add<V, S>(long pixel, int channel, ref S first, ref S second)
            where V : struct, ILanes<V>
            where S : struct, ISum<S, V>
        {
            V value = V.Load(x.Data + pixel * x.PixelStride + channel);
            V gradient = mask.Apply(pixel, channel, value, V.Load(dy.Data + pixel * dy.PixelStride + channel));
            first.Add(gradient);
            second.Add(gradient * (value - V.Load(mean + channel)));
        }
    }

    private interface IMask
    {
        V Apply<V>(long pixel, int channel, V x, V dy)
            where V : struct, ILanes<V>;
    }

    private readonly struct NoMask : IMask
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Apply<V>(long pixel, int channel, V x, V dy)
            where V : struct, ILanes<V> => dy;
    }

    private readonly struct OutputMask(Map y) : IMask
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Apply<V>(long pixel, int channel, V x, V dy)
            where V : struct, ILanes<V> => V.WherePositive(V.Load(y.Data + pixel * y.PixelStride + channel), dy);
    }

    private readonly struct InputMask(float* scale, float* shift) : IMask
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Apply<V>(long pixel, int channel, V x, V dy)
            where V : struct, ILanes<V> => V.WherePositive(V.Fma(x, V.Load(scale + channel), V.Load(shift + channel)), dy);
    }

    public void Dispose()
    {
        _sums.Dispose();
        Simd.Free(_constants);
        _constants = null;
    }
}

/// <summary>Where a gradient learns what the ReLU after the layer let pass.</summary>
internal enum ReluMask
{
    /// <summary>There was no ReLU.</summary>
    None,

    /// <summary>From its output.</summary>
    FromOutput,

    /// <summary>Computed again from the layer's input: one stream less to read.</summary>
    FromInput,
}
