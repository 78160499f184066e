using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace DwrSeg.Native.Backends.Cpu.Kernels;

/// <summary>
/// Gradient of a convolution with respect to its weights: dw[o, ky, kx, c] (+)= Σ dy[n, i, j, o] · x[n, i·s + ky − p, j·s + kx − p, c]
/// over all output pixels.
/// </summary>
/// <remarks>
/// The pixels are cut into chunks and the output channels into groups; a task owns one of each and sums into its own partial result,
/// and partial results are added in the order of the chunks. Both cuts depend on the shapes and the number of workers only, so the
/// result is reproducible. Within a task, blocks of pixels that fit the L1 cache are packed: dy as [tile][pixel][channel], x as rows
/// with a border of zeros, so that the register tiles run without any border case. With few input channels a kernel row of pixels is
/// taken as one longer pixel, which fills vectors that 3 channels would leave mostly empty.
/// </remarks>
internal sealed unsafe class ConvolutionWeightGradient
{
    private const int L1Floats = 8192;

    // Below this a chunk's share of adding up partial results becomes noticeable.
    private const int MinChunkPixels = 1024;

    private readonly int _kernel, _stride, _inChannels, _outChannels, _tasks;
    private readonly Workspace _workspace;
    private readonly bool _merged;
    private readonly int _lanes, _kernelColumns;
    private readonly int _vectors, _panels, _tileRows, _tiles, _blockPixels;
    private readonly nint _dyBytes;

    /// <param name="kernel">1 or 3.</param>
    /// <param name="stride">1 or 2.</param>
    /// <param name="inChannels">Channels of the convolution's input.</param>
    /// <param name="outChannels">Channels of the convolution's output.</param>
    /// <param name="workspace">Scratch, shared with other kernels.</param>
    public ConvolutionWeightGradient(int kernel, int stride, int inChannels, int outChannels, Workspace workspace)
    {
        ConvolutionShape.Check(kernel, stride, inChannels, outChannels);
        (_kernel, _stride, _inChannels, _outChannels) = (kernel, stride, inChannels, outChannels);
        _workspace = workspace;
        _tasks = workspace.Workers == 1 ? 1 : 4 * workspace.Workers;
        _merged = kernel * inChannels <= 16;
        _lanes = _merged ? kernel * inChannels : inChannels;
        _kernelColumns = _merged ? 1 : kernel;
        _vectors = PanelVectors(_lanes);
        _panels = (_lanes + _vectors * 16 - 1) / (_vectors * 16);
        _tileRows = !Vector512.IsHardwareAccelerated || _vectors == 4 ? 6 : _vectors == 3 ? 8 : 12;
        _tiles = (outChannels + _tileRows - 1) / _tileRows;
        _blockPixels = L1Floats / (_vectors * 16);
        _dyBytes = Align((nint)_blockPixels * _tiles * _tileRows * sizeof(float));
        // A block of one row of w pixels needs kernel · (w·stride + kernel) pixels of x, one of h rows of a single pixel as many.
        nint xPixels = (nint)(_blockPixels * stride + kernel) * (stride + kernel) + kernel * kernel;
        nint xFloats = xPixels * (_merged ? inChannels : _vectors * 16) + 16;
        workspace.ReserveScratch(_dyBytes + Align(xFloats * sizeof(float)));
        workspace.ReserveCommon(PartialFloats * _tasks * sizeof(float));
    }

    private nint TileFloats => _tileRows * _vectors * 16;

    private nint PartialFloats => (nint)_tiles * _kernel * _kernelColumns * _panels * TileFloats;

    /// <summary>Writes <paramref name="dw"/> in OHWI order, or adds to it.</summary>
    public void Run(WorkerPool pool, Map x, Map dy, float* dw, bool accumulate)
    {
        ConvolutionShape.CheckMaps(_stride, _inChannels, _outChannels, x, dy);
        if (dy.Pixels == 0) throw new ArgumentException("The maps are empty.", nameof(dy));
        int segments = (dy.W + _blockPixels - 1) / _blockPixels;
        int columns = (dy.W + segments - 1) / segments;
        segments = (dy.W + columns - 1) / columns;
        int rows = Math.Min(Math.Max(1, _blockPixels / columns), dy.H);
        int bands = (dy.H + rows - 1) / rows;
        long blocks = (long)dy.N * bands * segments;
        int chunks = (int)Math.Clamp(Math.Min(dy.Pixels / MinChunkPixels, blocks), 1, _tasks);
        Job job = new()
        {
            X = x,
            Dy = dy,
            Dw = dw,
            Accumulate = accumulate,
            Kernel = _kernel,
            KernelColumns = _kernelColumns,
            Stride = _stride,
            Merged = _merged,
            Lanes = _lanes,
            Vectors = _vectors,
            Panels = _panels,
            TileRows = _tileRows,
            Tiles = _tiles,
            Segments = segments,
            Columns = columns,
            Rows = rows,
            Bands = bands,
            Blocks = blocks,
            Chunks = chunks,
            Groups = Math.Min(_tiles, (_tasks + chunks - 1) / chunks),
            BlockPixels = _blockPixels,
            DyBytes = _dyBytes,
            Partials = (float*)_workspace.Common,
            PartialFloats = PartialFloats,
            TileFloats = TileFloats,
            Scratch = _workspace.Scratch,
            ScratchPitch = _workspace.ScratchPitch,
        };
        pool.Run(job.Chunks * job.Groups, &SumTask, &job);
        pool.Run(_tiles, &ReduceTask, &job);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumTask(void* context, int task, int worker)
    {
        Job* job = (Job*)context;
        int chunk = task / job->Groups, group = task % job->Groups;
        int firstTile = job->Tiles * group / job->Groups, endTile = job->Tiles * (group + 1) / job->Groups;
        long firstBlock = job->Blocks * chunk / job->Chunks, endBlock = job->Blocks * (chunk + 1) / job->Chunks;
        byte* scratch = job->Scratch + worker * job->ScratchPitch;
        float* dy = (float*)scratch, x = (float*)(scratch + job->DyBytes);
        float* partial = job->Partials + chunk * job->PartialFloats;
        int kernel = job->Kernel, stride = job->Stride;
        nint tapTiles = kernel * job->KernelColumns * job->Panels;
        for (long block = firstBlock; block < endBlock; block++)
        {
            int segment = (int)(block % job->Segments);
            int band = (int)(block / job->Segments % job->Bands), n = (int)(block / job->Segments / job->Bands);
            int row = band * job->Rows, rows = Math.Min(job->Rows, job->Dy.H - row);
            int column = segment * job->Columns, columns = Math.Min(job->Columns, job->Dy.W - column);
            int pixels = rows * columns;
            PackDy(job, n, row, rows, column, columns, firstTile, endTile, dy);

            int width = job->Merged ? job->X.C : job->Vectors * 16;
            int xColumns = (columns - 1) * stride + kernel, xRows = (rows - 1) * stride + kernel;
            nint xRowPitch = (nint)xColumns * width;
            for (int panel = 0; panel < job->Panels; panel++)
            {
                PackX(job, n, row * stride - kernel / 2, xRows, column * stride - kernel / 2, xColumns, panel * job->Vectors * 16, width, x);
                for (int tap = 0; tap < kernel * job->KernelColumns; tap++)
                {
                    int ky = tap / job->KernelColumns, kx = tap % job->KernelColumns;
                    float* origin = x + ky * xRowPitch + (nint)kx * width;
                    for (int tile = firstTile; tile < endTile; tile++)
                    {
                        float* sums = partial + (tile * tapTiles + tap * job->Panels + panel) * job->TileFloats;
                        float* d = dy + (nint)(tile - firstTile) * pixels * job->TileRows;
                        Multiply(job->Vectors, d, (nint)columns * job->TileRows, origin, stride * width, xRowPitch * stride, rows, columns, sums,
                            block != firstBlock);
                    }
                }
            }
        }
    }

    private static void Multiply(int vectors, float* dy, nint dyRowPitch, float* x, nint xStep, nint xRowPitch, int rows, int count,
        float* sums, bool add)
    {
        if (!Vector512.IsHardwareAccelerated)
            OuterProductKernels.Tile6x16(dy, dyRowPitch, x, xStep, xRowPitch, rows, count, sums, add);
        else if (vectors == 4)
            OuterProductKernels.Tile6x64(dy, dyRowPitch, x, xStep, xRowPitch, rows, count, sums, add);
        else if (vectors == 3)
            OuterProductKernels.Tile8x48(dy, dyRowPitch, x, xStep, xRowPitch, rows, count, sums, add);
        else if (vectors == 2)
            OuterProductKernels.Tile12x32(dy, dyRowPitch, x, xStep, xRowPitch, rows, count, sums, add);
        else
            OuterProductKernels.Tile12x16(dy, dyRowPitch, x, xStep, xRowPitch, rows, count, sums, add);
    }

    /// <summary>Packs a block of dy as [tile][pixel][TileRows], channels beyond the last as zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackDy(Job* job, int n, int row, int rows, int column, int columns, int firstTile, int endTile, float* target)
    {
        Map dy = job->Dy;
        nint pitch = dy.PixelStride;
        for (int tile = firstTile; tile < endTile; tile++)
        {
            int channel = tile * job->TileRows, valid = Math.Min(job->TileRows, dy.C - channel);
            for (int r = 0; r < rows; r++)
            {
                float* source = dy.Row(n, row + r) + column * pitch + channel;
                if (valid < job->TileRows)
                {
                    for (int i = 0; i < columns; i++, source += pitch, target += job->TileRows)
                    {
                        for (int c = 0; c < job->TileRows; c++) target[c] = c < valid ? source[c] : 0;
                    }
                }
                else if (valid == 6)
                {
                    for (int i = 0; i < columns; i++, source += pitch, target += 6) Unsafe.CopyBlockUnaligned(target, source, 24);
                }
                else if (valid == 8)
                {
                    for (int i = 0; i < columns; i++, source += pitch, target += 8) Unsafe.CopyBlockUnaligned(target, source, 32);
                }
                else
                {
                    for (int i = 0; i < columns; i++, source += pitch, target += 12) Unsafe.CopyBlockUnaligned(target, source, 48);
                }
            }
        }
    }

    /// <summary>Packs a window of x as [row][column][width], zeros outside the map and beyond its channels.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackX(Job* job, int n, int row, int rows, int column, int columns, int channel, int width, float* target)
    {
        Map x = job->X;
        nint pitch = x.PixelStride;
        int valid = Math.Min(width, x.C - channel);
        int left = Math.Clamp(-column, 0, columns), right = Math.Clamp(column + columns - x.W, 0, columns - left);
        int inside = columns - left - right;
        for (int r = 0; r < rows; r++)
        {
            if ((uint)(row + r) >= (uint)x.H)
            {
                NativeMemory.Clear(target, (nuint)((nint)columns * width * sizeof(float)));
                target += (nint)columns * width;
                continue;
            }
            NativeMemory.Clear(target, (nuint)((nint)left * width * sizeof(float)));
            target += (nint)left * width;
            float* source = x.Row(n, row + r) + (column + left) * pitch + channel;
            if (valid == width && (width & 15) == 0)
            {
                for (int i = 0; i < inside; i++, source += pitch, target += width)
                {
                    for (int c = 0; c < width; c += 16) Vector512.Load(source + c).Store(target + c);
                }
            }
            else
            {
                for (int i = 0; i < inside; i++, source += pitch, target += width)
                {
                    for (int c = 0; c < width; c++) target[c] = c < valid ? source[c] : 0;
                }
            }
            NativeMemory.Clear(target, (nuint)((nint)right * width * sizeof(float)));
            target += (nint)right * width;
        }
        // Merged pixels: the last vector reads past the last column into lanes that are dropped.
        if (job->Merged) NativeMemory.Clear(target, 16 * sizeof(float));
    }

    /// <summary>Adds up the partial results of one tile of output channels and stores them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ReduceTask(void* context, int tile, int worker)
    {
        Job* job = (Job*)context;
        int taps = job->Kernel * job->KernelColumns, width = job->Vectors * 16;
        int first = tile * job->TileRows, rows = Math.Min(job->TileRows, job->Dy.C - first);
        for (int tap = 0; tap < taps; tap++)
        {
            for (int panel = 0; panel < job->Panels; panel++)
            {
                float* partial = job->Partials + (((nint)tile * taps + tap) * job->Panels + panel) * job->TileFloats;
                int lane = panel * width, lanes = Math.Min(width, job->Lanes - lane);
                for (int r = 0; r < rows; r++, partial += width)
                {
                    float* target = job->Dw + ((nint)(first + r) * taps + tap) * job->Lanes + lane;
                    int c = 0;
                    for (; c + 16 <= lanes; c += 16)
                    {
                        Vector512<float> sum = Vector512.LoadAligned(partial + c);
                        for (int k = 1; k < job->Chunks; k++) sum += Vector512.LoadAligned(partial + k * job->PartialFloats + c);
                        if (job->Accumulate) sum += Vector512.Load(target + c);
                        sum.Store(target + c);
                    }
                    for (; c < lanes; c++)
                    {
                        float sum = partial[c];
                        for (int k = 1; k < job->Chunks; k++) sum += partial[k * job->PartialFloats + c];
                        target[c] = job->Accumulate ? target[c] + sum : sum;
                    }
                }
            }
        }
    }

    /// <summary>The panel width, one for all panels, that pads the channels least; the widest of equals.</summary>
    private static int PanelVectors(int lanes)
    {
        if (!Vector512.IsHardwareAccelerated) return 1;
        int vectors = (lanes + 15) / 16, best = 1;
        for (int width = 2; width <= 4; width++)
        {
            if ((vectors + width - 1) / width * width <= (vectors + best - 1) / best * best) best = width;
        }
        return best;
    }

    private static nint Align(nint bytes) => (bytes + Workspace.Alignment - 1) & ~(nint)(Workspace.Alignment - 1);

    private struct Job
    {
        public Map X, Dy;
        public float* Dw, Partials;
        public byte* Scratch;
        public nint ScratchPitch, DyBytes, PartialFloats, TileFloats;
        public long Blocks;
        public int Kernel, KernelColumns, Stride, Lanes, Vectors, Panels, TileRows, Tiles;
        public int Segments, Columns, Rows, Bands, Chunks, Groups, BlockPixels;
        public bool Merged, Accumulate;
    }
}
