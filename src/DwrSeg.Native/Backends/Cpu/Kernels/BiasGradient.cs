using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>Gradient of a bias: db[c] (+)= Σ dy[pixel][c] over all pixels.</summary>
/// <remarks>
/// Chunks of pixels are summed in single precision by at most <see cref="RunPixels"/> at a time; these short sums are added up in
/// double precision, in the order of the pixels, so the error does not grow with the map.
/// </remarks>
internal sealed unsafe class BiasGradient
{
    private const int RunPixels = 64;

    private readonly Workspace _workspace;
    private readonly int _channels, _chunks;

    public BiasGradient(int channels, Workspace workspace)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(channels);
        _channels = channels;
        _workspace = workspace;
        _chunks = workspace.Workers == 1 ? 1 : 4 * workspace.Workers;
        workspace.ReserveScratch(channels * sizeof(float));
        workspace.ReserveCommon((nint)_chunks * channels * sizeof(double));
    }

    /// <summary>Writes <paramref name="db"/> [C], or adds to it.</summary>
    public void Run(WorkerPool pool, Map dy, float* db, bool accumulate)
    {
        if (dy.C != _channels) throw new ArgumentException($"Bias of {_channels} channels, gradient of {dy.C}.", nameof(dy));
        Job job = new()
        {
            Dy = dy,
            Chunks = _chunks,
            Sums = (double*)_workspace.Common,
            Scratch = _workspace.Scratch,
            ScratchPitch = _workspace.ScratchPitch,
        };
        pool.Run(_chunks, &SumTask, &job);
        for (int c = 0; c < _channels; c++)
        {
            double sum = accumulate ? db[c] : 0;
            for (int chunk = 0; chunk < _chunks; chunk++) sum += job.Sums[(nint)chunk * _channels + c];
            db[c] = (float)sum;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumTask(void* context, int chunk, int worker)
    {
        Job* job = (Job*)context;
        Map dy = job->Dy;
        long first = dy.Pixels * chunk / job->Chunks, end = dy.Pixels * (chunk + 1) / job->Chunks;
        double* sums = job->Sums + (nint)chunk * dy.C;
        float* run = (float*)(job->Scratch + worker * job->ScratchPitch);
        new Span<double>(sums, dy.C).Clear();
        for (long pixel = first; pixel < end; pixel += RunPixels)
        {
            int count = (int)Math.Min(RunPixels, end - pixel);
            float* source = dy.Data + pixel * dy.PixelStride;
            int c = 0;
            for (; c + 16 <= dy.C; c += 16)
            {
                Vector512<float> sum = default;
                float* p = source + c;
                for (int i = 0; i < count; i++, p += dy.PixelStride) sum += Vector512.Load(p);
                sum.Store(run + c);
            }
            for (; c < dy.C; c++)
            {
                float sum = 0;
                float* p = source + c;
                for (int i = 0; i < count; i++, p += dy.PixelStride) sum += *p;
                run[c] = sum;
            }
            for (c = 0; c < dy.C; c++) sums[c] += run[c];
        }
    }

    private struct Job
    {
        public Map Dy;
        public double* Sums;
        public byte* Scratch;
        public nint ScratchPitch;
        public int Chunks;
    }
}
