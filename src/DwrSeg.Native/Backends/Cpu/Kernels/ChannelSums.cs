using System.Runtime.CompilerServices;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>Two terms per element that are summed over all pixels, channel by channel.</summary>
internal unsafe interface IChannelTerms
{
    /// <summary>Adds the terms of consecutive channels of one pixel.</summary>
    void Add<V, S>(long pixel, int channel, ref S first, ref S second)
        where V : struct, ILanes<V>
        where S : struct, ISum<S, V>;
}

/// <summary>
/// Sums over pixels per channel, in fp64. Pixels are cut into tasks by size alone and the tasks' sums added in order, so that the result
/// does not depend on the number of workers.
/// </summary>
internal sealed unsafe class ChannelSums : IDisposable
{
    // Pixels that one group of channels walks before the next group starts over them: their cache lines should still be there.
    private const int BlockBytes = 16384;

    private readonly int _channels;
    private double* _partials;

    /// <param name="channels">Most channels of any map.</param>
    public ChannelSums(int channels)
    {
        _channels = channels;
        _partials = Simd.Allocate<double>(2L * channels * Simd.MaxTasks);
    }

    /// <summary>After a run: the sums of the first terms, then at <see cref="Second"/> those of the second.</summary>
    public double* First => _partials;

    public double* Second => _partials + _channels;

    private struct Arguments<TTerms>
    {
        public TTerms Terms;
        public double* Partials;
        public long Pixels;
        public int Channels, Stride, Tasks, Block;
    }

    /// <summary>Sums over all pixels; blocks are cut by the widest pixel stride of the maps read.</summary>
    public void Run<TTerms>(WorkerPool pool, TTerms terms, long pixels, int channels, int pixelStride)
        where TTerms : unmanaged, IChannelTerms
    {
        int tasks = Simd.Tasks(pixels * channels, pixels);
        Arguments<TTerms> arguments = new()
        {
            Terms = terms, Partials = _partials, Pixels = pixels, Channels = channels, Stride = _channels, Tasks = tasks,
            Block = Math.Max(8, BlockBytes / (4 * pixelStride)),
        };
        pool.Run(tasks, Simd.IsWide ? &Task<TTerms, Lanes16, Sum16> : &Task<TTerms, Lanes8, Sum8>, &arguments);
        for (int task = 1; task < tasks; task++)
        {
            double* partial = _partials + 2L * _channels * task;
            for (int c = 0; c < channels; c++)
            {
                First[c] += partial[c];
                Second[c] += partial[_channels + c];
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Task<TTerms, V, S>(void* context, int task, int worker)
        where TTerms : unmanaged, IChannelTerms
        where V : struct, ILanes<V>
        where S : struct, ISum<S, V>
    {
        ref readonly Arguments<TTerms> a = ref *(Arguments<TTerms>*)context;
        TTerms terms = a.Terms;
        int channels = a.Channels;
        double* first = a.Partials + 2L * a.Stride * task, second = first + a.Stride;
        new Span<double>(first, channels).Clear();
        new Span<double>(second, channels).Clear();
        long end = Simd.Start(a.Pixels, a.Tasks, task + 1);
        for (long start = Simd.Start(a.Pixels, a.Tasks, task); start < end; start += a.Block)
        {
            long stop = Math.Min(end, start + a.Block);
            int c = 0;
            for (; c + 2 * V.Count <= channels; c += 2 * V.Count)
            {
                S f0 = default, f1 = default, s0 = default, s1 = default;
                for (long pixel = start; pixel < stop; pixel++)
                {
                    terms.Add<V, S>(pixel, c, ref f0, ref s0);
                    terms.Add<V, S>(pixel, c + V.Count, ref f1, ref s1);
                }
                f0.AddTo(first + c);
                f1.AddTo(first + c + V.Count);
                s0.AddTo(second + c);
                s1.AddTo(second + c + V.Count);
            }
            for (; c + V.Count <= channels; c += V.Count)
            {
                S f = default, s = default;
                for (long pixel = start; pixel < stop; pixel++) terms.Add<V, S>(pixel, c, ref f, ref s);
                f.AddTo(first + c);
                s.AddTo(second + c);
            }
            for (; c < channels; c++)
            {
                Sum1 f = default, s = default;
                for (long pixel = start; pixel < stop; pixel++) terms.Add<Lanes1, Sum1>(pixel, c, ref f, ref s);
                f.AddTo(first + c);
                s.AddTo(second + c);
            }
        }
    }

    public void Dispose()
    {
        Simd.Free(_partials);
        _partials = null;
    }
}
