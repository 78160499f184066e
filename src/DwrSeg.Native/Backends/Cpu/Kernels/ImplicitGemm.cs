using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>A kernel tap: its offset in the input and its index in the OHWI weights.</summary>
internal readonly record struct Tap(int Dy, int Dx, int Index);

/// <summary>The output pixels (Y0 + i·Step, X0 + j·Step), i &lt; H, j &lt; W, of every image of a map.</summary>
internal readonly record struct OutputGrid(int H, int W, int Y0, int X0, int Step);

/// <summary>
/// Convolution as a matrix product that never builds its left operand: for each grid pixel (i, j)
/// <c>y[o] = Σ_tap Σ_c x[i·stride + tap.Dy, j·stride + tap.Dx, c] · w[tap][c][o]</c>, zero outside x. Forward convolutions and data
/// gradients differ only in taps, grid and how weights are packed.
/// </summary>
/// <remarks>
/// Pixels are numbered through rows and images and cut into blocks. For a block a table of pointers says where each tap's pixel lies
/// (outside the map: at zeros), so the register tile reads x in place. Weights are packed in panels of at most 64 output channels,
/// [panel][tap][c][column]; a panel's block of K stays in the L1 cache while all the tiles of the pixel block pass over it.
/// </remarks>
internal sealed unsafe class ImplicitGemm : IDisposable
{
    // Divisible by every tile height.
    private const int BlockPixels = 120;

    // Pointers beyond the last pixel that a partial tile may read.
    private const int TileSlack = 16;

    private const int MaxPanelColumns = 64;

    private readonly Tap[] _taps;
    private readonly Workspace _workspace;
    private readonly nint _pointerBytes;
    private Panel* _panels;
    private Tap* _tapTable;
    private float* _weights;
    private float* _zeros;

    /// <param name="inChannels">Channels of x.</param>
    /// <param name="outChannels">Channels of y.</param>
    /// <param name="stride">Input pixels per grid pixel.</param>
    /// <param name="taps">May be empty: the sum is then zero.</param>
    /// <param name="workspace">Scratch, shared with other kernels.</param>
    public ImplicitGemm(int inChannels, int outChannels, int stride, Tap[] taps, Workspace workspace)
    {
        InChannels = inChannels;
        OutChannels = outChannels;
        Stride = stride;
        _taps = taps;
        _workspace = workspace;
        List<int> widths = PanelVectors(outChannels);
        Panels = widths.Count;
        _panels = (Panel*)NativeMemory.Alloc((nuint)(Panels * sizeof(Panel)));
        nint offset = 0;
        int column = 0;
        for (int i = 0; i < Panels; i++)
        {
            _panels[i] = new Panel { Column = column, Vectors = widths[i], Columns = Math.Min(outChannels - column, widths[i] * 16), Weights = offset };
            column += widths[i] * 16;
            offset += (nint)taps.Length * inChannels * widths[i] * 16;
        }
        _weights = Allocate(offset);
        NativeMemory.Clear(_weights, (nuint)(offset * sizeof(float)));
        _zeros = Allocate(inChannels);
        NativeMemory.Clear(_zeros, (nuint)inChannels * sizeof(float));
        _tapTable = (Tap*)NativeMemory.Alloc((nuint)(Math.Max(taps.Length, 1) * sizeof(Tap)));
        taps.CopyTo(new Span<Tap>(_tapTable, taps.Length));

        _pointerBytes = Align((nint)taps.Length * (BlockPixels + TileSlack) * sizeof(float*));
        workspace.ReserveScratch(_pointerBytes + Align(BlockPixels * sizeof(PixelSite)) + BlockPixels * MaxPanelColumns * sizeof(float));
    }

    ~ImplicitGemm() => Free();

    public int InChannels { get; }

    public int OutChannels { get; }

    public int Stride { get; }

    public int TapCount => _taps.Length;

    private int Panels { get; }

    /// <summary>Packs forward weights: output channel o, input channel i from OHWI <paramref name="weights"/>.</summary>
    public void PackForward(WorkerPool pool, float* weights, int kernelTaps) => Pack(pool, weights, kernelTaps, transposed: false);

    /// <summary>
    /// Packs weights with the channels' roles swapped: this product's inputs are the OHWI weights' output channels and vice versa.
    /// </summary>
    public void PackTransposed(WorkerPool pool, float* weights, int kernelTaps) => Pack(pool, weights, kernelTaps, transposed: true);

    private void Pack(WorkerPool pool, float* weights, int kernelTaps, bool transposed)
    {
        PackJob job = new()
        {
            Source = weights,
            Target = _weights,
            Panels = _panels,
            Taps = _tapTable,
            TapCount = _taps.Length,
            KernelTaps = kernelTaps,
            InChannels = InChannels,
            OutChannels = OutChannels,
        };
        pool.Run(Panels * _taps.Length, transposed ? &PackTransposedTask : &PackForwardTask, &job);
    }

    private static void PackForwardTask(void* context, int task, int worker)
    {
        PackJob* job = (PackJob*)context;
        Panel panel = job->Panels[task / job->TapCount];
        int t = task % job->TapCount, width = panel.Vectors * 16;
        nint sourcePitch = (nint)job->KernelTaps * job->InChannels;
        float* source = job->Source + panel.Column * sourcePitch + (nint)job->Taps[t].Index * job->InChannels;
        float* target = job->Target + panel.Weights + (nint)t * job->InChannels * width;
        for (int column = 0; column < panel.Columns; column++, source += sourcePitch)
        {
            for (int c = 0; c < job->InChannels; c++) target[c * width + column] = source[c];
        }
    }

    private static void PackTransposedTask(void* context, int task, int worker)
    {
        PackJob* job = (PackJob*)context;
        Panel panel = job->Panels[task / job->TapCount];
        int t = task % job->TapCount, width = panel.Vectors * 16;
        float* target = job->Target + panel.Weights + (nint)t * job->InChannels * width;
        for (int c = 0; c < job->InChannels; c++, target += width)
        {
            float* source = job->Source + ((nint)c * job->KernelTaps + job->Taps[t].Index) * job->OutChannels + panel.Column;
            new ReadOnlySpan<float>(source, panel.Columns).CopyTo(new Span<float>(target, panel.Columns));
        }
    }

    /// <summary>Computes the grid's pixels of <paramref name="y"/>; leaves all others alone.</summary>
    public void Run(WorkerPool pool, Map x, Map y, OutputGrid grid, in Epilogue epilogue)
    {
        Debug.Assert(x.C == InChannels && y.C == OutChannels && x.N == y.N);
        long pixels = (long)y.N * grid.H * grid.W;
        if (pixels == 0) return;
        RunJob job = new()
        {
            X = x,
            Y = y,
            Grid = grid,
            Epilogue = epilogue,
            Stride = Stride,
            InChannels = InChannels,
            Taps = _tapTable,
            TapCount = _taps.Length,
            Panels = _panels,
            Weights = _weights,
            Zeros = _zeros,
            Scratch = _workspace.Scratch,
            ScratchPitch = _workspace.ScratchPitch,
            PointerBytes = _pointerBytes,
            Pixels = pixels,
            BlockPixels = BlockPixels,
        };
        int blocks = (int)((pixels + job.BlockPixels - 1) / job.BlockPixels);
        // Few blocks: give each worker some of the panels too, so that none idles for long.
        int groups = 1;
        while (groups < Panels && blocks * groups < 6 * pool.Workers) groups++;
        job.PanelCount = Panels;
        job.Blocks = blocks;
        job.Groups = groups;
        pool.Run(blocks * groups, &RunTask, &job);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void RunTask(void* context, int task, int worker)
    {
        RunJob* job = (RunJob*)context;
        int group = task / job->Blocks;
        long firstPixel = (long)(task - group * job->Blocks) * job->BlockPixels;
        int count = (int)Math.Min(job->BlockPixels, job->Pixels - firstPixel);
        byte* scratch = job->Scratch + worker * job->ScratchPitch;
        float** pixels = (float**)scratch;
        PixelSite* sites = (PixelSite*)(scratch + job->PointerBytes);
        float* tiles = (float*)(scratch + job->PointerBytes + Align(BlockPixels * sizeof(PixelSite)));
        nint tapPitch = job->BlockPixels + TileSlack;
        Locate(job, firstPixel, count, pixels, tapPitch, sites);

        int firstPanel = job->PanelCount * group / job->Groups, endPanel = job->PanelCount * (group + 1) / job->Groups;
        for (int p = firstPanel; p < endPanel; p++)
        {
            Panel panel = job->Panels[p];
            RunPanel(job, panel, pixels, tapPitch, count, tiles);
            Finish(job, panel, sites, count, tiles);
        }
    }

    private static void RunPanel(RunJob* job, Panel panel, float** pixels, nint tapPitch, int count, float* tiles)
    {
        int width = panel.Vectors * 16, channels = job->InChannels;
        if (job->TapCount == 0)
        {
            NativeMemory.Clear(tiles, (nuint)(count * width * sizeof(float)));
            return;
        }
        // K is walked in pieces whose weights fit the L1 cache beside the pixels: several taps, or some channels of one.
        int depth = L1WeightFloats / width;
        int pieces = (channels + depth - 1) / depth, pieceChannels = (channels + pieces - 1) / pieces;
        int pieceTaps = pieces > 1 ? 1 : Math.Max(1, depth / channels);
        float* weights = job->Weights + panel.Weights;
        bool resume = false;
        for (int t = 0; t < job->TapCount; t += pieceTaps)
        {
            int taps = Math.Min(pieceTaps, job->TapCount - t);
            for (int c = 0; c < channels; c += pieceChannels)
            {
                int depthHere = Math.Min(pieceChannels, channels - c);
                MultiplyTiles(panel.Vectors, pixels + t * tapPitch, tapPitch, taps, c, depthHere, weights, tiles, count, resume);
                weights += (nint)taps * depthHere * width;
                resume = true;
            }
        }
    }

    private const int L1WeightFloats = 6144;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MultiplyTiles(int vectors, float** pixels, nint tapPitch, int taps, int first, int channels, float* weights,
        float* tiles, int count, bool resume)
    {
        if (!Vector512.IsHardwareAccelerated)
        {
            for (int i = 0; i < count; i += 6, tiles += 6 * 16)
                PanelKernels.Tile6x16(pixels + i, tapPitch, taps, first, channels, weights, tiles, resume);
        }
        else if (vectors == 4)
        {
            for (int i = 0; i < count; i += 6, tiles += 6 * 64)
                PanelKernels.Tile6x64(pixels + i, tapPitch, taps, first, channels, weights, tiles, resume);
        }
        else if (vectors == 3)
        {
            for (int i = 0; i < count; i += 8, tiles += 8 * 48)
                PanelKernels.Tile8x48(pixels + i, tapPitch, taps, first, channels, weights, tiles, resume);
        }
        else if (vectors == 2)
        {
            for (int i = 0; i < count; i += 10, tiles += 10 * 32)
                PanelKernels.Tile10x32(pixels + i, tapPitch, taps, first, channels, weights, tiles, resume);
        }
        else
        {
            for (int i = 0; i < count; i += 10, tiles += 10 * 16)
                PanelKernels.Tile10x16(pixels + i, tapPitch, taps, first, channels, weights, tiles, resume);
        }
    }

    /// <summary>Fills the pointer table of a block and notes where its results go.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Locate(RunJob* job, long firstPixel, int count, float** pixels, nint tapPitch, PixelSite* sites)
    {
        OutputGrid grid = job->Grid;
        Map x = job->X, y = job->Y;
        float* zeros = job->Zeros;
        long row = firstPixel / grid.W;
        int j = (int)(firstPixel - row * grid.W);
        int n = (int)(row / grid.H), i = (int)(row - (long)n * grid.H);
        nint step = (nint)job->Stride * x.PixelStride;
        for (int filled = 0; filled < count;)
        {
            int run = Math.Min(grid.W - j, count - filled);
            int yy = grid.Y0 + i * grid.Step;
            nint site = ((nint)n * y.H + yy) * y.W + grid.X0 + (nint)j * grid.Step;
            int rowBorder = ((yy == 0 ? 1 : 0) | (yy == y.H - 1 ? 2 : 0)) * 4;
            for (int k = 0; k < run; k++, site += grid.Step)
            {
                int xx = grid.X0 + (j + k) * grid.Step;
                sites[filled + k] = new PixelSite { Index = site, Border = rowBorder + ((xx == 0 ? 1 : 0) | (xx == y.W - 1 ? 2 : 0)) };
            }
            for (int t = 0; t < job->TapCount; t++)
            {
                float** target = pixels + t * tapPitch + filled;
                int iy = i * job->Stride + job->Taps[t].Dy;
                int ix = j * job->Stride + job->Taps[t].Dx;
                if ((uint)iy >= (uint)x.H)
                {
                    for (int k = 0; k < run; k++) target[k] = zeros;
                    continue;
                }
                float* source = x.Data + (((nint)n * x.H + iy) * x.W + ix) * x.PixelStride;
                for (int k = 0; k < run; k++, ix += job->Stride, source += step) target[k] = (uint)ix < (uint)x.W ? source : zeros;
            }
            filled += run;
            j = 0;
            if (++i == grid.H)
            {
                i = 0;
                n++;
            }
        }
        for (int t = 0; t < job->TapCount; t++)
        {
            float** target = pixels + t * tapPitch + count;
            for (int k = 0; k < TileSlack; k++) target[k] = zeros;
        }
    }

    /// <summary>Applies the epilogue to a block's sums and stores them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Finish(RunJob* job, Panel panel, PixelSite* sites, int count, float* tiles)
    {
        Epilogue e = job->Epilogue;
        int full = panel.Columns & ~15, tail = panel.Columns & 15, width = panel.Vectors * 16;
        float* y = job->Y.Data + panel.Column;
        nint yPitch = job->Y.PixelStride, residualPitch = e.Residual.PixelStride;
        float* residual = e.Residual.Data == null ? null : e.Residual.Data + panel.Column;
        float* before = e.ResidualAfterRelu ? null : residual, after = e.ResidualAfterRelu ? residual : null;
        int channels = job->Y.C;
        for (int i = 0; i < count; i++, tiles += width)
        {
            PixelSite site = sites[i];
            float* target = y + site.Index * yPitch;
            float* bias = e.Bias == null ? null : e.Bias + panel.Column + (e.BorderBias ? site.Border * channels : 0);
            nint r = site.Index * residualPitch;
            int c = 0;
            for (; c < full; c += 16)
            {
                Vector512<float> v = Vector512.LoadAligned(tiles + c);
                if (bias != null) v += Vector512.Load(bias + c);
                if (before != null) v += Vector512.Load(before + r + c);
                if (e.Relu) v = Vector512.MaxNative(Vector512<float>.Zero, v);
                if (after != null) v += Vector512.Load(after + r + c);
                if (e.Accumulate) v += Vector512.Load(target + c);
                v.Store(target + c);
            }
            for (; c < full + tail; c++)
            {
                float v = tiles[c];
                if (bias != null) v += bias[c];
                if (before != null) v += before[r + c];
                if (e.Relu && v < 0) v = 0;
                if (after != null) v += after[r + c];
                if (e.Accumulate) v += target[c];
                target[c] = v;
            }
        }
    }

    /// <summary>Cuts output channels into panels of 1 to 4 vectors of 16, as even as possible.</summary>
    private static List<int> PanelVectors(int channels)
    {
        int vectors = (channels + 15) / 16, widest = Vector512.IsHardwareAccelerated ? 4 : 1;
        int panels = (vectors + widest - 1) / widest;
        List<int> widths = [];
        for (int i = 0; i < panels; i++) widths.Add(vectors * (i + 1) / panels - vectors * i / panels);
        return widths;
    }

    private static float* Allocate(nint floats) =>
        (float*)NativeMemory.AlignedAlloc((nuint)Align(Math.Max(floats, 1) * sizeof(float)), Workspace.Alignment);

    private static nint Align(nint bytes) => (bytes + Workspace.Alignment - 1) & ~(nint)(Workspace.Alignment - 1);

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        NativeMemory.AlignedFree(_weights);
        NativeMemory.AlignedFree(_zeros);
        NativeMemory.Free(_panels);
        NativeMemory.Free(_tapTable);
        _weights = _zeros = null;
        _panels = null;
        _tapTable = null;
    }

    private struct Panel
    {
        public int Column, Columns, Vectors;
        public nint Weights;
    }

    /// <summary>A block pixel's linear index in the output and its row in a border bias.</summary>
    private struct PixelSite
    {
        public nint Index;
        public int Border;
    }

    private struct PackJob
    {
        public float* Source, Target;
        public Panel* Panels;
        public Tap* Taps;
        public int TapCount, KernelTaps, InChannels, OutChannels;
    }

    private struct RunJob
    {
        public Map X, Y;
        public OutputGrid Grid;
        public Epilogue Epilogue;
        public Tap* Taps;
        public Panel* Panels;
        public float* Weights, Zeros;
        public byte* Scratch;
        public nint ScratchPitch, PointerBytes;
        public long Pixels;
        public int TapCount, PanelCount, Stride, InChannels, BlockPixels, Blocks, Groups;
    }
}
