using System.Runtime.CompilerServices;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>What an elementwise kernel computes from up to two inputs and the output's old value.</summary>
internal interface IElementwise
{
    /// <summary>Number of inputs read: 0, 1 or 2.</summary>
    static abstract int Inputs { get; }

    /// <summary>Whether the old output is read.</summary>
    static abstract bool Accumulates { get; }

    V Apply<V>(V a, V b, V old)
        where V : struct, ILanes<V>;
}

/// <summary>
/// The loop of all elementwise kernels: y = f(a, b, y) over maps of one shape, each of which may be a channel slice. y may be a or b.
/// </summary>
internal static unsafe class Elementwise
{
    private struct Arguments<TOp>
    {
        public TOp Op;
        public Map A, B, Y;
        public int Tasks;
    }

    public static void Run<TOp>(WorkerPool pool, TOp op, Map a, Map b, Map y)
        where TOp : unmanaged, IElementwise
    {
        int tasks = Simd.Tasks(y.Pixels * y.C, y.Pixels);
        Arguments<TOp> arguments = new() { Op = op, A = a, B = b, Y = y, Tasks = tasks };
        pool.Run(tasks, Simd.IsWide ? &Task<TOp, Lanes16> : &Task<TOp, Lanes8>, &arguments);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Task<TOp, V>(void* context, int task, int worker)
        where TOp : unmanaged, IElementwise
        where V : struct, ILanes<V>
    {
        ref readonly Arguments<TOp> s = ref *(Arguments<TOp>*)context;
        TOp op = s.Op;
        Map a = s.A, b = s.B, y = s.Y;
        long first = Simd.Start(y.Pixels, s.Tasks, task), end = Simd.Start(y.Pixels, s.Tasks, task + 1);
        bool dense = y.PixelStride == y.C && (TOp.Inputs < 1 || a.PixelStride == a.C) && (TOp.Inputs < 2 || b.PixelStride == b.C);
        long step = dense ? end - first : 1, run = step * y.C;
        for (long pixel = first; pixel < end; pixel += step)
        {
            float* pa = a.Data + pixel * a.PixelStride, pb = b.Data + pixel * b.PixelStride, py = y.Data + pixel * y.PixelStride;
            long i = 0;
            for (; i + V.Count <= run; i += V.Count) Element<TOp, V>(op, pa + i, pb + i, py + i);
            for (; i < run; i++) Element<TOp, Lanes1>(op, pa + i, pb + i, py + i);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Element<TOp, V>(TOp op, float* a, float* b, float* y)
        where TOp : unmanaged, IElementwise
        where V : struct, ILanes<V> =>
        op.Apply(
            TOp.Inputs > 0 ? V.Load(a) : default, TOp.Inputs > 1 ? V.Load(b) : default, TOp.Accumulates ? V.Load(y) : default).Store(y);
}
