using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// A 1x1 convolution that a convolution feeds as it goes: pixels of the map between them are consumed out of a worker's cache and the map
/// itself is never written. <c>y = w · middle + bias + residual</c>.
/// </summary>
/// <remarks>
/// The head calls <see cref="Run"/> for some pixels and some of their channels at a time, the channels of a pixel in ascending order. Sums
/// wait in scratch from one piece of channels to the next, which rounds exactly as one long sum does.
/// </remarks>
internal sealed unsafe class PointwiseTail : IDisposable
{
    /// <summary>Most pixels of one call of <see cref="Run"/>.</summary>
    public const int MaxPixels = 120;

    private const int TablePitch = MaxPixels + Panels.TileSlack;

    private readonly Panels _panels;
    private float* _weights;
    private float* _zeros;

    /// <param name="inChannels">Channels of the map between.</param>
    /// <param name="outChannels">Channels of y.</param>
    public PointwiseTail(int inChannels, int outChannels)
    {
        _panels = new Panels(inChannels, outChannels, [0]);
        _weights = (float*)NativeMemory.AlignedAlloc((nuint)(_panels.Floats * sizeof(float)), Workspace.Alignment);
        int zeros = Math.Max(inChannels, _panels.PaddedColumns);
        _zeros = (float*)NativeMemory.AlignedAlloc((nuint)(zeros * sizeof(float)), Workspace.Alignment);
        NativeMemory.Clear(_zeros, (nuint)(zeros * sizeof(float)));
    }

    ~PointwiseTail() => Free();

    public int InChannels => _panels.InChannels;

    public int OutChannels => _panels.OutChannels;

    /// <summary>Takes over weights in OHWI order; call again whenever they change.</summary>
    public void Pack(WorkerPool pool, float* weights) => _panels.Pack(pool, weights, 1, transposed: false, _weights);

    /// <summary>What a worker needs of scratch for a block of <paramref name="pixels"/> whose middle takes <paramref name="middleFloats"/>.</summary>
    public nint ScratchBytes(int pixels, nint middleFloats) => Scratch.Bytes(pixels, middleFloats, _panels.PaddedColumns);

    /// <summary>Binds the tail to its maps; the residual's data is null where there is none.</summary>
    public Job Bind(Map y, Map residual, float* bias) => new()
    {
        Y = y,
        Residual = residual,
        Bias = bias,
        Weights = _weights,
        Zeros = _zeros,
        Panels = _panels.Table,
        PanelCount = _panels.Count,
        InChannels = InChannels,
        Columns = _panels.PaddedColumns,
    };

    /// <summary>
    /// Takes channels [<paramref name="firstChannel"/>, + <paramref name="channels"/>) of <paramref name="count"/> pixels, the block's
    /// <paramref name="first"/> and following, from rows of <paramref name="pitch"/> floats at the scratch's middle; the last channels
    /// complete y.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(Job* job, Scratch scratch, nint pitch, int first, int count, int firstChannel, int channels)
    {
        Debug.Assert(count <= MaxPixels);
        Map y = job->Y, residual = job->Residual;
        nint* sites = scratch.Sites + first;
        bool begins = firstChannel == 0, ends = firstChannel + channels == job->InChannels;
        for (int k = 0; k < count; k++)
        {
            scratch.Pixels[k] = scratch.Middle + k * pitch;
            scratch.SumRows[k] = scratch.Sums + (nint)(first + k) * job->Columns;
            scratch.Results[k] = y.Data + sites[k] * y.PixelStride;
            scratch.Starts[k] = residual.Data != null ? residual.Data + sites[k] * residual.PixelStride : job->Zeros;
        }
        // A partial tile's spare rows multiply zeros and go nowhere.
        for (int k = count; k < count + Panels.TileSlack; k++)
        {
            scratch.Pixels[k] = scratch.Starts[k] = job->Zeros;
            scratch.SumRows[k] = scratch.Results[k] = scratch.Spare;
        }
        nint startPitch = residual.Data != null ? 1 : 0;
        for (int p = 0; p < job->PanelCount; p++)
        {
            Panel panel = job->Panels[p];
            TileInput input = new()
            {
                Pixels = scratch.Pixels,
                Weights = job->Weights + (nint)job->InChannels * panel.Column + (nint)firstChannel * panel.Width,
                Taps = 1,
                Channels = channels,
            };
            TileRows sums = new() { Pixels = scratch.SumRows, Offset = panel.Column };
            if (panel.IsFull)
            {
                TileRows init = begins ? new() { Pixels = scratch.Starts, Offset = startPitch * panel.Column } : sums;
                TileRows result = ends ? new() { Pixels = scratch.Results, Offset = panel.Column } : sums;
                float* bias = ends && job->Bias != null ? job->Bias + panel.Column : job->Zeros;
                Panels.Multiply<FusedEnds>(panel.Vectors, input, init, result, bias, float.NegativeInfinity, count, default);
                continue;
            }
            // Rows of y and of the residual end before the panel does.
            if (begins) Clear(scratch, panel, count);
            Panels.Multiply<FusedEnds>(panel.Vectors, input, sums, sums, job->Zeros, float.NegativeInfinity, count, default);
            if (ends) Finish(job, scratch, panel, count);
        }
    }

    private static void Clear(Scratch scratch, Panel panel, int count)
    {
        for (int k = 0; k < count; k++) new Span<float>(scratch.SumRows[k] + panel.Column, panel.Width).Clear();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Finish(Job* job, Scratch scratch, Panel panel, int count)
    {
        bool residual = job->Residual.Data != null;
        for (int k = 0; k < count; k++)
        {
            for (int c = panel.Column; c < panel.Column + panel.Columns; c++)
            {
                float sum = scratch.SumRows[k][c];
                if (job->Bias != null) sum += job->Bias[c];
                if (residual) sum += scratch.Starts[k][c];
                scratch.Results[k][c] = sum;
            }
        }
    }

    public void Dispose()
    {
        _panels.Dispose();
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        NativeMemory.AlignedFree(_weights);
        NativeMemory.AlignedFree(_zeros);
        _weights = _zeros = null;
    }

    /// <summary>A tail bound to its maps.</summary>
    internal struct Job
    {
        public Map Y, Residual;
        public float* Bias, Weights, Zeros;
        public Panel* Panels;
        public int PanelCount, InChannels, Columns;
    }

    /// <summary>How a worker's scratch is divided.</summary>
    internal readonly struct Scratch
    {
        private const int Tables = 4;

        /// <summary>Where the head leaves pixels for the next call.</summary>
        public readonly float* Middle;

        /// <summary>The block's unfinished rows of y, at most one for each site.</summary>
        public readonly float* Sums;

        /// <summary>Which pixel of y each pixel of the block is; the head's to fill.</summary>
        public readonly nint* Sites;

        public readonly float* Spare;
        public readonly float** Pixels, SumRows, Results, Starts;

        public Scratch(byte* memory, int pixels, nint middleFloats, int columns)
        {
            Middle = (float*)memory;
            Sums = Middle + Whole(middleFloats);
            Spare = Sums + (nint)pixels * columns;
            Sites = (nint*)(Spare + columns);
            Pixels = (float**)(Sites + pixels);
            SumRows = Pixels + TablePitch;
            Results = SumRows + TablePitch;
            Starts = Results + TablePitch;
        }

        public static nint Bytes(int pixels, nint middleFloats, int columns) =>
            (Whole(middleFloats) + (nint)(pixels + 1) * columns) * sizeof(float) + (nint)(pixels + Tables * TablePitch) * sizeof(nint);

        private static nint Whole(nint floats) => (floats + 15) / 16 * 16;
    }
}
