using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace DwrSeg.Native.Backends.Cpu;

/// <summary>
/// The most fused multiply-adds that the machine does per second, measured: each thread chains FMAs on registers alone, in more chains than
/// a core has FMAs in flight (2 ports x 4 cycles), so that neither latency nor memory limits it.
/// </summary>
internal static unsafe class FmaPeak
{
    /// <summary>Steps of a task, about 20 ms: longer than the hand-out of tasks, shorter than what else the machine does.</summary>
    private const int StepsPerTask = 1_500_000;

    private const int Chains = 12;

    /// <summary>Best of <paramref name="repeats"/> measurements over all of the pool's threads, in flops per second (an FMA is two).</summary>
    public static double Measure(WorkerPool pool, int repeats = 3)
    {
        float* sink = stackalloc float[1];
        double flops = 2.0 * Chains * Lanes * StepsPerTask * pool.Workers, best = 0;
        for (int i = 0; i < repeats; i++)
        {
            long start = Stopwatch.GetTimestamp();
            pool.Run(pool.Workers, &Task, sink);
            best = Math.Max(best, flops / Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        return best;
    }

    private static int Lanes => Vector512.IsHardwareAccelerated ? Vector512<float>.Count : Vector256<float>.Count;

    private static void Task(void* context, int task, int worker)
    {
        // The result has to reach memory, or the compiler may drop the loop.
        float result = Vector512.IsHardwareAccelerated ? Chains512(task) : Chains256(task);
        if (float.IsNaN(result)) *(float*)context = result;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Chains512(int seed)
    {
        Vector512<float> scale = Vector512.Create(0.5f + seed * 1e-9f), step = Vector512.Create(0.25f);
        Vector512<float> a = step, b = step, c = step, d = step, e = step, f = step, g = step, h = step, i = step, j = step, k = step, l = step;
        for (int n = 0; n < StepsPerTask; n++)
        {
            a = Vector512.FusedMultiplyAdd(a, scale, step);
            b = Vector512.FusedMultiplyAdd(b, scale, step);
            c = Vector512.FusedMultiplyAdd(c, scale, step);
            d = Vector512.FusedMultiplyAdd(d, scale, step);
            e = Vector512.FusedMultiplyAdd(e, scale, step);
            f = Vector512.FusedMultiplyAdd(f, scale, step);
            g = Vector512.FusedMultiplyAdd(g, scale, step);
            h = Vector512.FusedMultiplyAdd(h, scale, step);
            i = Vector512.FusedMultiplyAdd(i, scale, step);
            j = Vector512.FusedMultiplyAdd(j, scale, step);
            k = Vector512.FusedMultiplyAdd(k, scale, step);
            l = Vector512.FusedMultiplyAdd(l, scale, step);
        }
        return Vector512.Sum(a + b + c + d + e + f + g + h + i + j + k + l);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Chains256(int seed)
    {
        Vector256<float> scale = Vector256.Create(0.5f + seed * 1e-9f), step = Vector256.Create(0.25f);
        Vector256<float> a = step, b = step, c = step, d = step, e = step, f = step, g = step, h = step, i = step, j = step, k = step, l = step;
        for (int n = 0; n < StepsPerTask; n++)
        {
            a = Vector256.FusedMultiplyAdd(a, scale, step);
            b = Vector256.FusedMultiplyAdd(b, scale, step);
            c = Vector256.FusedMultiplyAdd(c, scale, step);
            d = Vector256.FusedMultiplyAdd(d, scale, step);
            e = Vector256.FusedMultiplyAdd(e, scale, step);
            f = Vector256.FusedMultiplyAdd(f, scale, step);
            g = Vector256.FusedMultiplyAdd(g, scale, step);
            h = Vector256.FusedMultiplyAdd(h, scale, step);
            i = Vector256.FusedMultiplyAdd(i, scale, step);
            j = Vector256.FusedMultiplyAdd(j, scale, step);
            k = Vector256.FusedMultiplyAdd(k, scale, step);
            l = Vector256.FusedMultiplyAdd(l, scale, step);
        }
        return Vector256.Sum(a + b + c + d + e + f + g + h + i + j + k + l);
    }
}
