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
/// [panel][tap][c][column]; a panel stays in the L2 cache while all the tiles of the block pass over it, and streams from there at
/// full speed. Sums start from the residual, border bias or old output and end in the output, without a detour through memory; only
/// the rare rest (a panel that is not full, a residual after the ReLU) goes through scratch.
/// With few input channels a row of taps is taken as one tap of a longer pixel, since neighbours in x are neighbours in memory.
/// </remarks>
internal sealed unsafe class ImplicitGemm : IDisposable
{
    // Divisible by every tile height.
    private const int BlockPixels = 120;

    // By which blocks shrink where there are few of them.
    private const int TailStep = 24;

    // Pointers from one tap to the next.
    private const int TapPitch = BlockPixels + Panels.TileSlack;

    // Half of a 1 MiB L2 cache; the pixels need the rest.
    private const int L2WeightFloats = 131072;

    // A longer merged pixel would cost more in copies at the border than it saves.
    private const int MergedFloats = 16;

    private readonly Tap[] _taps;
    private readonly Workspace _workspace;
    private readonly int _rowTaps;
    private readonly Panels _panels;
    private Tap* _tapTable;
    private int* _freshTaps;
    private readonly int _freshTapCount;
    private readonly nint _tailOffset;
    private float* _weights;
    private float* _zeros;
    private float** _zeroRows;

    /// <param name="inChannels">Channels of x.</param>
    /// <param name="outChannels">Channels of y.</param>
    /// <param name="stride">Input pixels per grid pixel.</param>
    /// <param name="taps">May be empty: the sum is then zero.</param>
    /// <param name="workspace">Scratch, shared with other kernels.</param>
    /// <param name="rowTaps">So many successive taps lie side by side in x; 1 if in doubt.</param>
    /// <param name="tail">What takes the product's pixels, if not a map.</param>
    public ImplicitGemm(int inChannels, int outChannels, int stride, Tap[] taps, Workspace workspace, int rowTaps = 1, PointwiseTail? tail = null)
    {
        Stride = stride;
        _taps = taps;
        _workspace = workspace;
        _rowTaps = rowTaps * inChannels <= MergedFloats ? rowTaps : 1;
        _panels = new Panels(inChannels, outChannels, [.. taps.Select(tap => tap.Index)]);
        _weights = Allocate(_panels.Floats);
        int zeros = Math.Max(Math.Max(inChannels, _panels.PaddedColumns), MergedFloats);
        _zeros = Allocate(zeros);
        NativeMemory.Clear(_zeros, (nuint)zeros * sizeof(float));
        _zeroRows = (float**)NativeMemory.Alloc((nuint)TapPitch * (nuint)sizeof(float*));
        for (int i = 0; i < TapPitch; i++) _zeroRows[i] = _zeros;
        _tapTable = (Tap*)NativeMemory.Alloc((nuint)(Math.Max(taps.Length, 1) * sizeof(Tap)));
        taps.CopyTo(new Span<Tap>(_tapTable, taps.Length));
        // As pixels are walked, these taps meet each of x's first: the lowest rows' rightmost ones.
        int bottom = taps.Select(tap => tap.Dy).DefaultIfEmpty().Max(), right = taps.Select(tap => tap.Dx).DefaultIfEmpty().Max();
        int[] fresh = [.. Enumerable.Range(0, taps.Length).Where(i => taps[i].Dy > bottom - stride && taps[i].Dx > right - stride)];
        _freshTapCount = fresh.Length;
        _freshTaps = (int*)NativeMemory.Alloc((nuint)Math.Max(fresh.Length, 1) * sizeof(int));
        fresh.CopyTo(new Span<int>(_freshTaps, fresh.Length));
        _tailOffset = Align(BlockScratch.Bytes(taps.Length, outChannels, _rowTaps > 1));
        workspace.ReserveScratch(_tailOffset + (tail?.ScratchBytes(BlockPixels, TailMiddle(outChannels)) ?? 0));
    }

    ~ImplicitGemm() => Free();

    public int InChannels => _panels.InChannels;

    public int OutChannels => _panels.OutChannels;

    public int Stride { get; }

    public int TapCount => _taps.Length;

    /// <summary>
    /// Packs OHWI weights of <paramref name="kernelTaps"/> taps; transposed, this product's inputs are the weights' output channels and
    /// vice versa.
    /// </summary>
    public void Pack(WorkerPool pool, float* weights, int kernelTaps, bool transposed) =>
        _panels.Pack(pool, weights, kernelTaps, transposed, _weights);

    /// <summary>
    /// Computes the grid's pixels of <paramref name="y"/>; leaves all others alone. With a tail bound, the grid is all of y, whose memory is
    /// not touched, and its pixels go there.
    /// </summary>
    public void Run(WorkerPool pool, Map x, Map y, OutputGrid grid, in Epilogue epilogue, PointwiseTail.Job* tail = null)
    {
        Debug.Assert(x.C == InChannels && y.C == OutChannels && x.N == y.N);
        long pixels = (long)y.N * grid.H * grid.W;
        if (pixels == 0) return;
        // Merging needs neighbours in x to be neighbours in memory.
        int rowTaps = x.PixelStride == x.C ? _rowTaps : 1;
        bool residual = epilogue.Residual.Data != null;
        RunJob job = new()
        {
            X = x,
            Y = y,
            Grid = grid,
            Epilogue = epilogue,
            Stride = Stride,
            RowTaps = rowTaps,
            Depth = InChannels * rowTaps,
            Taps = _tapTable,
            FreshTaps = _freshTaps,
            FreshTapCount = rowTaps == 1 ? _freshTapCount : 0,
            TapCount = _taps.Length / rowTaps,
            Panels = _panels.Table,
            Weights = _weights,
            Zeros = _zeros,
            ZeroRows = _zeroRows,
            Scratch = _workspace.Scratch,
            ScratchPitch = _workspace.ScratchPitch,
            Pixels = pixels,
            BlockPixels = BlockPixels,
            Tail = tail,
            TailOffset = _tailOffset,
            Direct = epilogue.Accumulate
                ? !epilogue.Relu && !residual && !epilogue.BorderBias
                : !residual || !epilogue.BorderBias && !(epilogue.Relu && epilogue.ResidualAfterRelu),
        };
        // A tail sums over all panels, so these can't be divided among workers.
        if (tail != null) while (job.BlockPixels > TailStep && pixels < 6L * pool.Workers * job.BlockPixels) job.BlockPixels -= TailStep;
        int blocks = (int)((pixels + job.BlockPixels - 1) / job.BlockPixels);
        // Few blocks: give each worker some of the panels too, so that none idles for long.
        int groups = 1;
        while (tail == null && groups < _panels.Count && blocks * groups < 6 * pool.Workers) groups++;
        job.PanelCount = _panels.Count;
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
        BlockScratch scratch = new(job->Scratch + worker * job->ScratchPitch, job->TapCount * job->RowTaps, job->Y.C);
        Locate(job, firstPixel, count, scratch);
        PointwiseTail.Scratch tail = default;
        if (job->Tail != null)
        {
            tail = new PointwiseTail.Scratch((byte*)scratch.Tiles + job->TailOffset, BlockPixels, TailMiddle(job->Y.C), job->Tail->Columns);
            for (int k = 0; k < count; k++)
            {
                tail.Sites[k] = (nint)firstPixel + k;
                scratch.Results[k] = tail.Middle + (nint)k * job->Y.C;
            }
        }

        int firstPanel = job->PanelCount * group / job->Groups, endPanel = job->PanelCount * (group + 1) / job->Groups;
        for (int p = firstPanel; p < endPanel; p++) RunPanel(job, job->Panels[p], scratch, count, fetch: p == firstPanel);
        if (job->Tail != null) PointwiseTail.Run(job->Tail, tail, job->Y.C, 0, count, 0, job->Y.C);
    }

    private static nint TailMiddle(int channels) => (nint)BlockPixels * channels;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void RunPanel(RunJob* job, Panel panel, BlockScratch scratch, int count, bool fetch)
    {
        bool direct = job->Direct && panel.IsFull;
        TileRows sums = new() { Pixels = scratch.Sums };
        TileRows result = direct ? new() { Pixels = scratch.Results, Offset = panel.Column } : sums;
        float** start = !direct ? null
            : job->Epilogue.Accumulate ? scratch.Results
            : job->Epilogue.Residual.Data != null ? scratch.Residuals
            : job->Epilogue.BorderBias ? scratch.Biases : null;
        TileRows init = start != null ? new() { Pixels = start, Offset = panel.Column } : new() { Pixels = job->ZeroRows };
        float* bias = direct && job->Epilogue.Bias != null && !job->Epilogue.BorderBias ? job->Epilogue.Bias + panel.Column : job->Zeros;
        float floor = direct && job->Epilogue.Relu ? 0 : float.NegativeInfinity;

        // K is walked whole where the panel's weights stay in the L2 cache, else in pieces that do: several taps, or some channels of one.
        int width = panel.Width, channels = job->Depth, depth = L2WeightFloats / width;
        int pieces = (channels + depth - 1) / depth, pieceChannels = (channels + pieces - 1) / pieces;
        int tapPieces = pieces > 1 ? job->TapCount : (int)(((nint)job->TapCount * channels + depth - 1) / depth);
        int pieceTaps = tapPieces == 0 ? 0 : (job->TapCount + tapPieces - 1) / tapPieces;
        TileInput input = new() { Weights = job->Weights + (nint)job->TapCount * job->Depth * panel.Column, TapPitch = TapPitch };
        FetchAhead ahead = fetch ? new() { Taps = job->FreshTaps, TapCount = job->FreshTapCount, Channels = channels } : default;
        int tap = 0, channel = 0;
        do
        {
            input.Pixels = scratch.Pixels + tap * TapPitch;
            input.Taps = Math.Min(pieceTaps, job->TapCount - tap);
            input.FirstChannel = channel;
            input.Channels = Math.Min(pieceChannels, channels - channel);
            channel += pieceChannels;
            if (channel >= channels)
            {
                channel = 0;
                tap += pieceTaps;
            }
            bool last = tap >= job->TapCount;
            Panels.Multiply<FusedEnds>(panel.Vectors, input, init, last ? result : sums, last ? bias : job->Zeros,
                last ? floor : float.NegativeInfinity, count, tap >= job->TapCount && pieceTaps >= job->TapCount ? ahead : default);
            input.Weights += input.Taps * input.Channels * width;
            init = sums;
        }
        while (tap < job->TapCount);
        if (!direct) Finish(job, panel, scratch, count);
    }

    /// <summary>Fills a block's tables of pointers: where each tap reads, where sums start from, where results go.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Locate(RunJob* job, long firstPixel, int count, BlockScratch scratch)
    {
        OutputGrid grid = job->Grid;
        Map x = job->X, y = job->Y, residual = job->Epilogue.Residual;
        float* zeros = job->Zeros;
        float** results = scratch.Results, residuals = scratch.Residuals;
        int stride = job->Stride;
        long row = firstPixel / grid.W;
        int j = (int)(firstPixel - row * grid.W);
        int n = (int)(row / grid.H), i = (int)(row - (long)n * grid.H);
        nint step = (nint)stride * x.PixelStride;
        for (int filled = 0; filled < count;)
        {
            int run = Math.Min(grid.W - j, count - filled);
            int yy = grid.Y0 + i * grid.Step;
            nint site = ((nint)n * y.H + yy) * y.W + grid.X0 + (nint)j * grid.Step;
            for (int k = 0; k < run; k++) results[filled + k] = y.Data + (site + (nint)k * grid.Step) * y.PixelStride;
            if (residual.Data != null)
            {
                for (int k = 0; k < run; k++) residuals[filled + k] = residual.Data + (site + (nint)k * grid.Step) * residual.PixelStride;
            }
            if (job->Epilogue.BorderBias)
            {
                int rowBorder = ((yy == 0 ? 1 : 0) | (yy == y.H - 1 ? 2 : 0)) * 4;
                for (int k = 0; k < run; k++)
                {
                    int xx = grid.X0 + (j + k) * grid.Step;
                    scratch.Biases[filled + k] = job->Epilogue.Bias + (rowBorder + ((xx == 0 ? 1 : 0) | (xx == y.W - 1 ? 2 : 0))) * (nint)y.C;
                }
            }
            for (int t = 0; t < job->TapCount; t++)
            {
                float** target = scratch.Pixels + t * TapPitch + filled;
                Tap tap = job->Taps[t * job->RowTaps];
                int iy = i * stride + tap.Dy, ix = j * stride + tap.Dx;
                if ((uint)iy >= (uint)x.H)
                {
                    for (int k = 0; k < run; k++) target[k] = zeros;
                    continue;
                }
                // Pixels [low, high) see the tap, with all its columns, inside the map.
                int low = ix >= 0 ? 0 : Math.Min((-ix + stride - 1) / stride, run);
                int high = Math.Clamp((x.W - job->RowTaps - ix + stride) / stride, low, run);
                float* line = x.Row(n, iy), source = line + (nint)ix * x.PixelStride;
                for (int k = low; k < high; k++) target[k] = source + k * step;
                for (int k = 0; k < low; k++) target[k] = AtBorder(job, line, ix + k * stride, scratch.Slot(t, filled + k));
                for (int k = high; k < run; k++) target[k] = AtBorder(job, line, ix + k * stride, scratch.Slot(t, filled + k));
            }
            filled += run;
            j = 0;
            if (++i == grid.H)
            {
                i = 0;
                n++;
            }
        }
        // A partial tile's spare rows multiply zeros and go nowhere.
        for (int t = 0; t < job->TapCount; t++)
        {
            float** target = scratch.Pixels + t * TapPitch + count;
            for (int k = 0; k < Panels.TileSlack; k++) target[k] = zeros;
        }
        for (int k = count; k < count + Panels.TileSlack; k++)
        {
            results[k] = scratch.Spare;
            residuals[k] = scratch.Biases[k] = zeros;
        }
        for (int k = 0; k < TapPitch; k++) scratch.Sums[k] = scratch.Tiles + k * Panels.MaxWidth;
    }

    /// <summary>What a tap reads at the left or right border: zeros, or a merged pixel put together in a slot.</summary>
    private static float* AtBorder(RunJob* job, float* line, int column, float* slot)
    {
        if (job->RowTaps == 1) return job->Zeros;
        int channels = job->X.C, first = Math.Max(0, -column), end = Math.Min(job->RowTaps, job->X.W - column);
        new Span<float>(slot, job->Depth).Clear();
        for (int i = first * channels; i < end * channels; i++) slot[i] = line[(nint)column * channels + i];
        return slot;
    }

    /// <summary>Applies the epilogue to sums in scratch and stores them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Finish(RunJob* job, Panel panel, BlockScratch scratch, int count)
    {
        Epilogue e = job->Epilogue;
        bool before = e.Residual.Data != null && !e.ResidualAfterRelu, after = e.Residual.Data != null && e.ResidualAfterRelu;
        Vector512<float> floor = Vector512.Create(e.Relu ? 0 : float.NegativeInfinity);
        for (int i = 0; i < count; i++)
        {
            float* sums = scratch.Sums[i], target = scratch.Results[i] + panel.Column;
            float* residual = scratch.Residuals[i] + panel.Column;
            float* bias = e.Bias == null ? job->Zeros : (e.BorderBias ? scratch.Biases[i] : e.Bias) + panel.Column;
            int c = 0;
            for (; c + 16 <= panel.Columns; c += 16)
            {
                Vector512<float> v = Vector512.Load(sums + c) + Vector512.Load(bias + c);
                if (before) v += Vector512.Load(residual + c);
                v = Vector512.MaxNative(floor, v);
                if (after) v += Vector512.Load(residual + c);
                if (e.Accumulate) v += Vector512.Load(target + c);
                v.Store(target + c);
            }
            for (; c < panel.Columns; c++)
            {
                float v = sums[c] + bias[c];
                if (before) v += residual[c];
                if (e.Relu && v < 0) v = 0;
                if (after) v += residual[c];
                if (e.Accumulate) v += target[c];
                target[c] = v;
            }
        }
    }

    private static float* Allocate(nint floats) =>
        (float*)NativeMemory.AlignedAlloc((nuint)Align(Math.Max(floats, 1) * sizeof(float)), Workspace.Alignment);

    private static nint Align(nint bytes) => (bytes + Workspace.Alignment - 1) & ~(nint)(Workspace.Alignment - 1);

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
        NativeMemory.Free(_zeroRows);
        NativeMemory.Free(_tapTable);
        NativeMemory.Free(_freshTaps);
        _weights = _zeros = null;
        _zeroRows = null;
        _tapTable = null;
        _freshTaps = null;
    }

    private struct RunJob
    {
        public Map X, Y;
        public OutputGrid Grid;
        public Epilogue Epilogue;
        public Tap* Taps;
        public int* FreshTaps;
        public Panel* Panels;
        public float* Weights, Zeros;
        public float** ZeroRows;
        public PointwiseTail.Job* Tail;
        public byte* Scratch;
        public nint ScratchPitch, TailOffset;
        public long Pixels;
        public int TapCount, RowTaps, Depth, FreshTapCount, PanelCount, Stride, BlockPixels, Blocks, Groups;
        public bool Direct;
    }

    /// <summary>How a worker's scratch is divided. Tables have <see cref="TapPitch"/> entries, one per pixel of the block.</summary>
    private readonly struct BlockScratch
    {
        private const int Tables = 4;

        /// <summary>What each tap reads, [tap][pixel].</summary>
        public readonly float** Pixels;
        public readonly float** Results, Residuals, Biases, Sums;

        /// <summary>Sums that a table's rows point to.</summary>
        public readonly float* Tiles;

        /// <summary>Where the rows beyond the last pixel go, all to the same place.</summary>
        public readonly float* Spare;
        private readonly float* _slots;

        public BlockScratch(byte* memory, int taps, int channels)
        {
            Tiles = (float*)memory;
            Spare = Tiles + TapPitch * Panels.MaxWidth;
            Results = (float**)(Spare + Columns(channels));
            Residuals = Results + TapPitch;
            Biases = Residuals + TapPitch;
            Sums = Biases + TapPitch;
            Pixels = Sums + TapPitch;
            _slots = (float*)(Pixels + taps * TapPitch);
        }

        public static nint Bytes(int taps, int channels, bool merged) =>
            (TapPitch * Panels.MaxWidth + Columns(channels) + (merged ? (nint)taps * TapPitch * MergedFloats : 0)) * sizeof(float)
            + (Tables + taps) * TapPitch * sizeof(float*);

        public float* Slot(int tap, int pixel) => _slots + (tap * TapPitch + pixel) * MergedFloats;

        private static int Columns(int channels) => (channels + Panels.MaxWidth - 1) / Panels.MaxWidth * Panels.MaxWidth;
    }
}
