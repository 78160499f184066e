using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// 3x3 convolution of stride 1 by Winograd's F(4x4, 3x3), forward or (with taps mirrored and channels swapped) as data gradient: a
/// quarter of the direct product's multiplications.
/// </summary>
/// <remarks>
/// Tiles of 4x4 outputs are numbered through rows and images and cut into blocks. A worker transforms a block's input to
/// V[point][tile][c], then for one panel of output channels after the other multiplies each of the 36 points by its weights into
/// M[point][tile][column] and transforms M back into the output. Blocks are sized so that V and M stay in the L2 cache.
/// </remarks>
internal sealed unsafe class WinogradConvolution : IDisposable
{
    // A multiple of the tile heights 6, 8 and 12.
    private const int TileStep = 24;

    private const int MaxBlockTiles = 48;

    // V and M of a block, in a 1 MiB L2 cache that weights pass through too.
    private const int L2Floats = 200_000;

    // Tiles whose pixels go to a tail at once: with its weights they stay in the L1 cache, and every tile height divides their number.
    private const int TailTiles = 6;

    private const int TilePixels = WinogradTransforms.Tile * WinogradTransforms.Tile;
    private const int TailPixels = MaxBlockTiles * TilePixels, TailMiddle = TailTiles * TilePixels * Panels.MaxWidth;

    private readonly Panels _panels;
    private readonly bool _dataGradient;
    private readonly Workspace _workspace;
    private readonly int _blockTiles;
    private readonly nint _tailOffset;
    private float* _weights;
    private float* _zeros;

    /// <param name="inChannels">Channels of the product's input.</param>
    /// <param name="outChannels">Channels of the product's output.</param>
    /// <param name="dataGradient">The weights' output channels are this product's input.</param>
    /// <param name="workspace">Scratch, shared with other kernels.</param>
    /// <param name="tail">What takes the product's pixels, if not a map.</param>
    public WinogradConvolution(int inChannels, int outChannels, bool dataGradient, Workspace workspace, PointwiseTail? tail = null)
    {
        Debug.Assert(Suits(inChannels, outChannels));
        _dataGradient = dataGradient;
        _workspace = workspace;
        int[] taps = [.. Enumerable.Range(0, 9).Select(tap => dataGradient ? 8 - tap : tap)];
        _panels = new Panels(inChannels, outChannels, taps);
        _weights = (float*)NativeMemory.AlignedAlloc((nuint)(_panels.Floats / 9 * WinogradTransforms.Points * sizeof(float)), Workspace.Alignment);
        int zeros = Math.Max(inChannels, outChannels) + Panels.MaxWidth;
        _zeros = (float*)NativeMemory.AlignedAlloc((nuint)(zeros * sizeof(float)), Workspace.Alignment);
        NativeMemory.Clear(_zeros, (nuint)(zeros * sizeof(float)));
        int fit = L2Floats / (WinogradTransforms.Points * (inChannels + Panels.MaxWidth)) / TileStep * TileStep;
        _blockTiles = Math.Clamp(fit, TileStep, MaxBlockTiles);
        _tailOffset = (BlockScratch.Bytes(inChannels) + Workspace.Alignment - 1) / Workspace.Alignment * Workspace.Alignment;
        workspace.ReserveScratch(_tailOffset + (tail?.ScratchBytes(TailPixels, TailMiddle) ?? 0));
        workspace.ReserveCommon(_panels.Floats * sizeof(float));
    }

    ~WinogradConvolution() => Free();

    /// <summary>Whole vectors of channels, and enough of them to pay for the transforms.</summary>
    public static bool Suits(int inChannels, int outChannels) =>
        Vector512.IsHardwareAccelerated && inChannels % 16 == 0 && outChannels % 16 == 0 && inChannels >= 32 && outChannels >= 32;

    /// <summary>Takes over weights in OHWI order; call again whenever they change.</summary>
    public void Pack(WorkerPool pool, float* weights)
    {
        float* taps = (float*)_workspace.Common;
        _panels.Pack(pool, weights, 9, _dataGradient, taps);
        PackJob job = new() { Taps = taps, Target = _weights, Panels = _panels.Table, Channels = _panels.InChannels };
        pool.Run(_panels.Count * PackParts, &PackTask, &job);
    }

    private const int PackParts = 8;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackTask(void* context, int task, int worker)
    {
        PackJob* job = (PackJob*)context;
        Panel panel = job->Panels[task / PackParts];
        int part = task % PackParts, width = panel.Width;
        nint plane = (nint)job->Channels * width;
        float* source = job->Taps + 9 * (nint)job->Channels * panel.Column;
        float* target = job->Target + WinogradTransforms.Points * (nint)job->Channels * panel.Column;
        nint first = plane / 16 * part / PackParts * 16, end = plane / 16 * (part + 1) / PackParts * 16;
        for (nint i = first; i < end; i += 16) WinogradTransforms.Weights(source + i, target + i, plane);
    }

    /// <summary>Computes y; with a tail bound, y's memory is not touched and its pixels go there.</summary>
    public void Run(WorkerPool pool, Map x, Map y, in Epilogue epilogue, PointwiseTail.Job* tail = null)
    {
        Debug.Assert(x.C == _panels.InChannels && y.C == _panels.OutChannels && x.N == y.N && x.H == y.H && x.W == y.W);
        int rows = (y.H + WinogradTransforms.Tile - 1) / WinogradTransforms.Tile;
        int columns = (y.W + WinogradTransforms.Tile - 1) / WinogradTransforms.Tile;
        long tiles = (long)y.N * rows * columns;
        if (tiles == 0) return;
        RunJob job = new()
        {
            X = x,
            Y = y,
            Epilogue = epilogue,
            Weights = _weights,
            Zeros = _zeros,
            Panels = _panels.Table,
            PanelCount = _panels.Count,
            TileRows = rows,
            TileColumns = columns,
            Tiles = tiles,
            BlockTiles = _blockTiles,
            Scratch = _workspace.Scratch,
            ScratchPitch = _workspace.ScratchPitch,
            Tail = tail,
            TailOffset = _tailOffset,
        };
        // A tail sums over all panels, so these can't be divided among workers.
        if (tail != null) while (job.BlockTiles > TailTiles && tiles < 4L * pool.Workers * job.BlockTiles) job.BlockTiles -= TailTiles;
        int blocks = (int)((tiles + job.BlockTiles - 1) / job.BlockTiles), groups = 1;
        while (tail == null && groups < _panels.Count && blocks * groups < 4 * pool.Workers) groups++;
        job.Blocks = blocks;
        job.Groups = groups;
        pool.Run(blocks * groups, &RunTask, &job);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void RunTask(void* context, int task, int worker)
    {
        RunJob* job = (RunJob*)context;
        int group = task / job->Blocks;
        long firstTile = (long)(task - group * job->Blocks) * job->BlockTiles;
        int count = (int)Math.Min(job->BlockTiles, job->Tiles - firstTile), channels = job->X.C;
        BlockScratch scratch = new(job->Scratch + worker * job->ScratchPitch, channels);

        TransformInput(job, firstTile, count, scratch);
        nint vPitch = BlockScratch.VPitch(channels);
        for (int i = 0; i < count + Panels.TileSlack; i++) scratch.VRows[i] = scratch.V + (i < count ? (nint)i * channels : 0);
        PointwiseTail.Scratch tail = default;
        if (job->Tail != null)
        {
            tail = new PointwiseTail.Scratch((byte*)scratch.V + job->TailOffset, TailPixels, TailMiddle, job->Tail->Columns);
            LocateSites(job, firstTile, count, tail.Sites);
        }
        int firstPanel = job->PanelCount * group / job->Groups, endPanel = job->PanelCount * (group + 1) / job->Groups;
        for (int p = firstPanel; p < endPanel; p++)
        {
            Panel panel = job->Panels[p];
            int width = panel.Width;
            nint plane = (nint)channels * width;
            for (int i = 0; i < count + Panels.TileSlack; i++) scratch.MRows[i] = scratch.M + (nint)i * width;
            TileInput input = new()
            {
                Pixels = scratch.VRows,
                Weights = job->Weights + WinogradTransforms.Points * (nint)channels * panel.Column,
                Taps = 1,
                Channels = channels,
            };
            TileRows products = new() { Pixels = scratch.MRows };
            for (int point = 0; point < WinogradTransforms.Points; point++)
            {
                input.FirstChannel = point * vPitch;
                products.Offset = point * BlockScratch.MPitch;
                Panels.Multiply<PlainEnds>(panel.Vectors, input, default, products, null, 0, count, default);
                input.Weights += plane;
            }
            if (job->Tail == null) TransformOutput(job, panel, firstTile, 0, count, scratch, null);
            else FeedTail(job, panel, firstTile, count, scratch, tail);
        }
    }

    /// <summary>Numbers the block's pixels tile by tile, those beyond the map left out.</summary>
    private static void LocateSites(RunJob* job, long firstTile, int count, nint* sites)
    {
        for (int t = 0; t < count; t++)
        {
            Origin(job, firstTile + t, out int n, out int y0, out int x0);
            int rows = Math.Min(WinogradTransforms.Tile, job->Y.H - y0), columns = Math.Min(WinogradTransforms.Tile, job->Y.W - x0);
            for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++)
                *sites++ = ((nint)n * job->Y.H + y0 + i) * job->Y.W + x0 + j;
        }
    }

    private static void FeedTail(RunJob* job, Panel panel, long firstTile, int count, BlockScratch scratch, PointwiseTail.Scratch tail)
    {
        int first = 0;
        for (int t = 0; t < count; t += TailTiles)
        {
            int pixels = TransformOutput(job, panel, firstTile, t, Math.Min(t + TailTiles, count), scratch, tail.Middle);
            PointwiseTail.Run(job->Tail, tail, panel.Width, first, pixels, panel.Column, panel.Width);
            first += pixels;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void TransformInput(RunJob* job, long firstTile, int count, BlockScratch scratch)
    {
        Map x = job->X;
        float** pixels = stackalloc float*[WinogradTransforms.Points];
        nint pitch = BlockScratch.VPitch(x.C);
        for (int t = 0; t < count; t++)
        {
            Origin(job, firstTile + t, out int n, out int y0, out int x0);
            for (int i = 0; i < WinogradTransforms.Patch; i++)
            {
                int y = y0 - 1 + i;
                float** row = pixels + i * WinogradTransforms.Patch;
                if ((uint)y >= (uint)x.H)
                {
                    for (int j = 0; j < WinogradTransforms.Patch; j++) row[j] = job->Zeros;
                    continue;
                }
                float* source = x.Row(n, y);
                for (int j = 0; j < WinogradTransforms.Patch; j++)
                {
                    int column = x0 - 1 + j;
                    row[j] = (uint)column < (uint)x.W ? source + (nint)column * x.PixelStride : job->Zeros;
                }
            }
            WinogradTransforms.Input(pixels, x.C, scratch.V + (nint)t * x.C, pitch, scratch.Half);
        }
    }

    /// <summary>Transforms tiles [first, end) of the block into y or, pixel after pixel, into a tail's middle; returns their pixels.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static int TransformOutput(RunJob* job, Panel panel, long firstTile, int first, int end, BlockScratch scratch, float* middle)
    {
        Map y = job->Y;
        Epilogue e = job->Epilogue;
        bool residual = e.Residual.Data != null, before = residual && !e.ResidualAfterRelu, after = residual && e.ResidualAfterRelu;
        Vector512<float> floor = Vector512.Create(e.Relu ? 0 : float.NegativeInfinity);
        Vector512<float>* sums = scratch.Half + WinogradTransforms.Points;
        nint step = middle != null ? panel.Width : y.PixelStride;
        int done = 0;
        for (int t = first; t < end; t++)
        {
            Origin(job, firstTile + t, out int n, out int y0, out int x0);
            int rows = Math.Min(WinogradTransforms.Tile, y.H - y0), columns = Math.Min(WinogradTransforms.Tile, y.W - x0);
            nint site = ((nint)n * y.H + y0) * y.W + x0;
            for (int c = 0; c < panel.Width; c += 16)
            {
                WinogradTransforms.Output(scratch.M + (nint)t * panel.Width + c, BlockScratch.MPitch, sums, scratch.Half);
                int channel = panel.Column + c;
                for (int i = 0; i < rows; i++)
                {
                    nint pixel = site + (nint)i * y.W;
                    float* target = middle != null ? middle + (nint)(done + i * columns) * step + c : y.Data + pixel * step + channel;
                    float* extra = residual ? e.Residual.Data + pixel * e.Residual.PixelStride + channel : null;
                    int rowBorder = ((y0 + i == 0 ? 1 : 0) | (y0 + i == y.H - 1 ? 2 : 0)) * 4;
                    for (int j = 0; j < columns; j++)
                    {
                        Vector512<float> v = sums[i * WinogradTransforms.Tile + j];
                        if (e.BorderBias)
                        {
                            int border = rowBorder + ((x0 + j == 0 ? 1 : 0) | (x0 + j == y.W - 1 ? 2 : 0));
                            v += Vector512.Load(e.Bias + (nint)border * y.C + channel);
                        }
                        else if (e.Bias != null) v += Vector512.Load(e.Bias + channel);
                        if (before) v += Vector512.Load(extra);
                        v = Vector512.MaxNative(floor, v);
                        if (after) v += Vector512.Load(extra);
                        if (e.Accumulate) v += Vector512.Load(target);
                        v.Store(target);
                        target += step;
                        extra += e.Residual.PixelStride;
                    }
                }
            }
            done += rows * columns;
        }
        return done;
    }

    private static void Origin(RunJob* job, long tile, out int n, out int y, out int x)
    {
        long row = tile / job->TileColumns;
        x = (int)(tile - row * job->TileColumns) * WinogradTransforms.Tile;
        n = (int)(row / job->TileRows);
        y = (int)(row - (long)n * job->TileRows) * WinogradTransforms.Tile;
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

    private struct PackJob
    {
        public float* Taps, Target;
        public Panel* Panels;
        public int Channels;
    }

    private struct RunJob
    {
        public Map X, Y;
        public Epilogue Epilogue;
        public float* Weights, Zeros;
        public Panel* Panels;
        public byte* Scratch;
        public PointwiseTail.Job* Tail;
        public nint ScratchPitch, TailOffset;
        public long Tiles;
        public int PanelCount, TileRows, TileColumns, BlockTiles, Blocks, Groups;
    }

    private readonly struct BlockScratch(byte* memory, int channels)
    {
        private const int Rows = MaxBlockTiles + Panels.TileSlack;

        // One line more than a round number: the 36 points of a tile would all fall into the same cache set.
        public const int MPitch = Rows * Panels.MaxWidth + 16;

        public readonly float* V = (float*)memory;
        public readonly float* M = (float*)memory + WinogradTransforms.Points * VPitch(channels);
        public readonly float** VRows = (float**)((float*)memory + WinogradTransforms.Points * (VPitch(channels) + MPitch));

        /// <summary>Room for transforms that are half done, then for a tile of y.</summary>
        public Vector512<float>* Half => (Vector512<float>*)(VRows + 2 * Rows);

        public float** MRows => VRows + Rows;

        public static nint VPitch(int channels) => (nint)MaxBlockTiles * channels + 16;

        public static nint Bytes(int channels) =>
            WinogradTransforms.Points * (VPitch(channels) + MPitch) * sizeof(float) + 2 * Rows * sizeof(float*)
            + (WinogradTransforms.Points + WinogradTransforms.Tile * WinogradTransforms.Tile) * sizeof(Vector512<float>);
    }
}
