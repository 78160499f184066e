using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// Consecutive output channels whose weights lie together: <see cref="Vectors"/> vectors of 16 columns, of which
/// <see cref="Columns"/> from channel <see cref="Column"/> on are real and the rest zeros.
/// </summary>
internal struct Panel
{
    public int Column, Columns, Vectors;

    public readonly int Width => Vectors * 16;

    public readonly bool IsFull => Columns == Width;
}

/// <summary>
/// Taps whose pixels a product fetches into the cache one tile ahead: as many channels of each, since the hardware does not see these
/// reads coming.
/// </summary>
internal unsafe struct FetchAhead
{
    public int* Taps;
    public nint Channels;
    public int TapCount;
}

/// <summary>The output channels of a matrix product cut into panels, and weights packed for them as [panel][tap][c][column].</summary>
internal sealed unsafe class Panels : IDisposable
{
    /// <summary>Columns of the widest panel.</summary>
    public const int MaxWidth = 64;

    /// <summary>Rows that a tile may reach beyond the last one asked for.</summary>
    public const int TileSlack = 16;

    private readonly int[] _taps;

    /// <param name="inChannels">Depth of a tap.</param>
    /// <param name="outChannels">Columns of the product.</param>
    /// <param name="taps">Each tap's index in the OHWI weights.</param>
    public Panels(int inChannels, int outChannels, int[] taps)
    {
        InChannels = inChannels;
        OutChannels = outChannels;
        _taps = taps;
        int vectors = (outChannels + 15) / 16, widest = Vector512.IsHardwareAccelerated ? 4 : 1;
        Count = (vectors + widest - 1) / widest;
        Table = (Panel*)NativeMemory.Alloc((nuint)(Count * sizeof(Panel)));
        for (int i = 0; i < Count; i++)
        {
            // As even as possible: 5 vectors as 2 + 3, not 4 + 1.
            int first = vectors * i / Count, end = vectors * (i + 1) / Count;
            Table[i] = new Panel { Column = first * 16, Vectors = end - first, Columns = Math.Min(outChannels, end * 16) - first * 16 };
        }
        PaddedColumns = vectors * 16;
    }

    ~Panels() => Free();

    public int InChannels { get; }

    public int OutChannels { get; }

    /// <summary>Number of panels.</summary>
    public int Count { get; }

    public Panel* Table { get; private set; }

    public int PaddedColumns { get; }

    /// <summary>Length of the packed weights.</summary>
    public nint Floats => (nint)_taps.Length * InChannels * PaddedColumns;

    /// <summary>
    /// Packs OHWI weights of <paramref name="kernelTaps"/> taps into <paramref name="target"/>, zeros beyond the last channel. Transposed,
    /// the product's inputs are the weights' output channels and its outputs their input channels.
    /// </summary>
    public void Pack(WorkerPool pool, float* weights, int kernelTaps, bool transposed, float* target)
    {
        fixed (int* taps = _taps)
        {
            Job job = new()
            {
                Source = weights,
                Target = target,
                Table = Table,
                Taps = taps,
                TapCount = _taps.Length,
                KernelTaps = kernelTaps,
                InChannels = InChannels,
                OutChannels = OutChannels,
            };
            pool.Run(Count * _taps.Length, transposed ? &PackTransposed : &PackForward, &job);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackForward(void* context, int task, int worker)
    {
        Job* job = (Job*)context;
        Panel panel = job->Table[task / job->TapCount];
        int tap = task % job->TapCount, width = panel.Width, channels = job->InChannels;
        nint sourcePitch = (nint)job->KernelTaps * channels;
        float* source = job->Source + panel.Column * sourcePitch + (nint)job->Taps[tap] * channels;
        float* target = Target(job, panel, tap);
        // Four channels of one column at a time: reads stay in a few cache lines, writes in as many rows of the panel.
        for (int c = 0; c < channels; c += 4)
        {
            int count = Math.Min(4, channels - c);
            for (int k = 0; k < count; k++)
            {
                float* row = target + (nint)(c + k) * width, from = source + c + k;
                for (int column = 0; column < panel.Columns; column++, from += sourcePitch) row[column] = *from;
                for (int column = panel.Columns; column < width; column++) row[column] = 0;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackTransposed(void* context, int task, int worker)
    {
        Job* job = (Job*)context;
        Panel panel = job->Table[task / job->TapCount];
        int tap = task % job->TapCount, width = panel.Width;
        float* target = Target(job, panel, tap);
        for (int c = 0; c < job->InChannels; c++, target += width)
        {
            float* source = job->Source + ((nint)c * job->KernelTaps + job->Taps[tap]) * job->OutChannels + panel.Column;
            new ReadOnlySpan<float>(source, panel.Columns).CopyTo(new Span<float>(target, panel.Columns));
            new Span<float>(target + panel.Columns, width - panel.Columns).Clear();
        }
    }

    private static float* Target(Job* job, Panel panel, int tap) =>
        job->Target + (nint)job->TapCount * job->InChannels * panel.Column + (nint)tap * job->InChannels * panel.Width;

    /// <summary>
    /// Multiplies <paramref name="count"/> rows (and up to <see cref="TileSlack"/> more) with one panel's weights.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Multiply<TEnds>(int vectors, TileInput input, TileRows init, TileRows result, float* bias, float floor, int count,
        FetchAhead ahead)
        where TEnds : struct, ITileEnds
    {
        int rows = !Vector512.IsHardwareAccelerated || vectors == 4 ? 6 : vectors == 3 ? 8 : vectors == 2 ? 10 : 12;
        for (int i = 0; i < count; i += rows, input.Pixels += rows, init.Pixels += rows, result.Pixels += rows)
        {
            if (Sse.IsSupported && i + rows < count)
            {
                for (int t = 0; t < ahead.TapCount; t++)
                {
                    float** next = input.Pixels + ahead.Taps[t] * input.TapPitch + rows;
                    for (int r = 0; r < rows; r++)
                    {
                        for (nint c = 0; c < ahead.Channels; c += 16) Sse.Prefetch0(next[r] + c);
                    }
                }
            }
            if (!Vector512.IsHardwareAccelerated) PanelKernels.Tile6x16<TEnds>(input, init, result, bias, floor);
            else if (vectors == 4) PanelKernels.Tile6x64<TEnds>(input, init, result, bias, floor);
            else if (vectors == 3) PanelKernels.Tile8x48<TEnds>(input, init, result, bias, floor);
            else if (vectors == 2) PanelKernels.Tile10x32<TEnds>(input, init, result, bias, floor);
            else PanelKernels.Tile12x16<TEnds>(input, init, result, bias, floor);
        }
    }

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        NativeMemory.Free(Table);
        Table = null;
    }

    private struct Job
    {
        public float* Source, Target;
        public Panel* Table;
        public int* Taps;
        public int TapCount, KernelTaps, InChannels, OutChannels;
    }
}
