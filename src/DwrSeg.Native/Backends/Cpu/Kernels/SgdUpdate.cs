using System.Runtime.CompilerServices;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// One parameter's step of gradient descent: g = gradient + decay·p; v = momentum·v + g; p −= rate·v. All parameters of a network go in one
/// run: each is cut into chunks of a fixed size, and a task is a chunk.
/// </summary>
internal unsafe struct SgdUpdate
{
    private const long Chunk = 16384;

    public float* Parameter, Gradient, Velocity, Rate;
    public long Count;
    public float Momentum, WeightDecay;

    private long _firstChunk;

    /// <summary>Numbers the chunks; once, before the first <see cref="Run"/>.</summary>
    /// <returns>The number of tasks.</returns>
    public static int Plan(Span<SgdUpdate> updates)
    {
        long chunks = 0;
        foreach (ref SgdUpdate update in updates)
        {
            update._firstChunk = chunks;
            chunks += (update.Count + Chunk - 1) / Chunk;
        }
        return checked((int)chunks);
    }

    /// <summary>Applies all updates.</summary>
    public static void Run(WorkerPool pool, ReadOnlySpan<SgdUpdate> updates, int tasks)
    {
        fixed (SgdUpdate* p = updates)
        {
            Arguments a = new() { Updates = p, Count = updates.Length };
            pool.Run(tasks, Simd.IsWide ? &Task<Lanes16> : &Task<Lanes8>, &a);
        }
    }

    private struct Arguments
    {
        public SgdUpdate* Updates;
        public int Count;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Task<V>(void* context, int task, int worker)
        where V : struct, ILanes<V>
    {
        ref readonly Arguments a = ref *(Arguments*)context;
        int low = 0, high = a.Count - 1;
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            if (a.Updates[middle]._firstChunk <= task) low = middle;
            else high = middle - 1;
        }
        SgdUpdate u = a.Updates[low];
        long i = (task - u._firstChunk) * Chunk, end = Math.Min(i + Chunk, u.Count);
        for (; i + V.Count <= end; i += V.Count) Step<V>(u, i);
        for (; i < end; i++) Step<Lanes1>(u, i);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step<V>(in SgdUpdate u, long i)
        where V : struct, ILanes<V>
    {
        V p = V.Load(u.Parameter + i);
        V g = V.Fma(V.Splat(u.WeightDecay), p, V.Load(u.Gradient + i));
        V v = V.Fma(V.Splat(u.Momentum), V.Load(u.Velocity + i), g);
        v.Store(u.Velocity + i);
        V.Fma(V.Splat(-*u.Rate), v, p).Store(u.Parameter + i);
    }
}
