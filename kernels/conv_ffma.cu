// Dense convolution in exact fp32 (FFMA, never tf32), as an implicit matrix product:
//
//   y[p, o] = epilogue(sum over taps, i of x[pixel of p's tap, i] * w[tap, i, o])      kernel 1 or 3, stride 1 or 2, padding kernel / 2
//
// x, y and the residual are NHWC channel slices of fp32, w is fp32 [taps][inputs][outputs rounded up to 4] (pack_weights.cu), bias is fp32.
// Epilogue: conv.cuh. y must overlap no x.
//
// Defines   TILE_M, TILE_N  pixels and channels of y that a block makes; a thread makes 8x8 of them
//           SPLIT    how blocks share a tile's sum: NO_SPLIT, MEMORY_SPLIT or CLUSTER_SPLIT (split_k.cuh)
//           ALIGNED  1 where x starts on 16 bytes, its pixel stride and channels are of whole 16 bytes; 0 for everything else
//           TRANSPOSED  1 for the gradient of a convolution of stride 2 by its input (conv.cuh): x is the output's gradient, y the input's, w
//                    are transposed; without splits and with an epilogue that only adds. 0 for a convolution.
// Launch    grid splits of the sum x tiles of channels x tiles of pixels, the first fastest; block TILE_M * TILE_N / 64; with CLUSTER_SPLIT
//           clusters of a tile's blocks
// Shared    static, 128 * (TILE_M + TILE_N) bytes; with CLUSTER_SPLIT at least the 4 * TILE_M * TILE_N of a tile's sums
//
// A step takes 16 channels of one tap. Two steps' values lie in shared memory: one is multiplied while the next is copied, by cp.async from
// sm_80 on and through registers before. Pixels keep their channels together, so nothing is transposed on the way in: a thread reads four
// channels of each of its eight pixels (a vector each, broadcast along the row of threads) and the matching four rows of weights: sixteen
// 16-byte reads for 256 multiply-adds, so shared memory is not what bounds it. The vectors of a pixel's row are permuted (swizzle.cuh), so
// the rows that a warp reads at once lie in different banks. A thread's channels come in two groups of four, half a tile apart, which makes neighbouring threads'
// reads and stores neighbours.
//
// Where pixels and channels make too few tiles for the device, blocks share a tile's sum (split_k.cuh); these are variants of their own because
// their registers and code are not free. In a cluster each block ends with some of the tile's pixels.
//
// Bytes: x once a tap and tile of channels from L2, w once a tile of pixels; y and residual once. Flops: 2 a value of the sum.
#include "conv.cuh"
#include "copy_batch.cuh"
#include "overlap.cuh"
#include "split_k.cuh"
#include "swizzle.cuh"

constexpr int VECTOR = 4, SIDE = 8, TILE_K = 16, ACROSS = TILE_N / SIDE, DOWN = TILE_M / SIDE, THREADS = ACROSS * DOWN;
constexpr int K_VECTORS = TILE_K / VECTOR, N_VECTORS = TILE_N / VECTOR;
constexpr int X_COPY_ROWS = THREADS / K_VECTORS, X_COPIES = TILE_M / X_COPY_ROWS;
constexpr int W_COPY_ROWS = THREADS / N_VECTORS, W_COPIES = TILE_K / W_COPY_ROWS;
static_assert(X_COPIES * X_COPY_ROWS == TILE_M && W_COPIES * W_COPY_ROWS == TILE_K, "whole rounds of copies");
static_assert(X_COPY_ROWS % 8 == 0 && DOWN % 8 == 0, "a thread's rows have one key");

#if ALIGNED && __CUDA_ARCH__ >= 800
constexpr bool X_ASYNC = true;
#else
constexpr bool X_ASYNC = false;
#endif
#if __CUDA_ARCH__ >= 800
constexpr bool W_ASYNC = true;
#else
constexpr bool W_ASYNC = false;
#endif

// Twelve warps hide each other's latency on a multiprocessor. Many copies through registers, and sums that a cluster joins, leave too few for that.
#if (ALIGNED && __CUDA_ARCH__ >= 800 && SPLIT != CLUSTER_SPLIT) || (SPLIT == NO_SPLIT && TILE_M * TILE_N == 128 * 64)
#define BOUNDS __launch_bounds__(THREADS, 384 / THREADS)
#else
#define BOUNDS __launch_bounds__(THREADS)
#endif

struct Arguments
{
    const f32 *x;
    const f32 *weights;
    ConvShape shape;
    Epilogue<f32> epilogue;
    SplitWorkspace workspace;
    i32 channel_tiles, splits;
};

struct Stage
{
    float4 x[TILE_M * K_VECTORS];
    float4 weights[TILE_K * N_VECTORS];
};

union Memory
{
    Stage stages[2];
#if SPLIT == CLUSTER_SPLIT
    float4 sums[TILE_M * N_VECTORS];
#endif
};

// The next step to copy.
struct Position
{
    i32 tap, channel;
#if TRANSPOSED
    // All that the block has.
    u32 taps;
#endif
};

struct Copies
{
    CopyBatch<X_COPIES, X_ASYNC> x;
    CopyBatch<W_COPIES, W_ASYNC> weights;
};

__device__ inline void begin_copies(
    const Arguments &a, const Window (&windows)[X_COPIES], i32 first_output, Position &next, Stage &stage, Copies &copies)
{
    const ConvShape &s = a.shape;
    i32 vector = threadIdx.x % K_VECTORS, row = threadIdx.x / K_VECTORS, channel = next.channel + vector * VECTOR;
#if TRANSPOSED
    i64 offset = -i64(next.tap / 3 / 2 * s.width + next.tap % 3 / 2) * s.x_stride + channel;
#else
    i64 offset = i64(next.tap / s.kernel * s.width + next.tap % s.kernel) * s.x_stride + channel;
#endif
#pragma unroll
    for (int i = 0; i < X_COPIES; i++)
    {
        bool is_valid = channel < s.inputs && (windows[i].taps >> next.tap & 1);
        const f32 *from = is_valid ? a.x + windows[i].corner + offset : a.x;
        float4 *to = stage.x + (row + i * X_COPY_ROWS) * K_VECTORS + (vector ^ row_key<K_VECTORS>(row));
#if ALIGNED
        copies.x.begin(i, to, from, is_valid);
#else
        copies.x.begin_elements(i, to, from, is_valid ? s.inputs - channel : 0);
#endif
    }
    i32 w_vector = threadIdx.x % N_VECTORS, w_row = threadIdx.x / N_VECTORS, packed_outputs = (s.outputs + VECTOR - 1) / VECTOR * VECTOR;
    i32 output = first_output + w_vector * VECTOR;
#pragma unroll
    for (int i = 0; i < W_COPIES; i++)
    {
        i32 w_channel = next.channel + w_row + i * W_COPY_ROWS;
        bool is_valid = w_channel < s.inputs && output < packed_outputs;
        const f32 *from = is_valid ? a.weights + (i64(next.tap) * s.inputs + w_channel) * packed_outputs + output : a.weights;
        copies.weights.begin(i, stage.weights + (w_row + i * W_COPY_ROWS) * N_VECTORS + w_vector, from, is_valid);
    }
    next.channel += TILE_K;
    if (next.channel >= s.inputs)
    {
        next.channel = 0;
        next.tap++;
#if TRANSPOSED
        // Beyond the last it does not matter.
        next.tap += __ffs(next.taps >> next.tap) - 1;
#endif
    }
}

__device__ inline void multiply(const Stage &stage, i32 down, i32 across, f32 (&sums)[SIDE][SIDE])
{
#pragma unroll
    for (int k = 0; k < K_VECTORS; k++)
    {
        float4 x[SIDE];
#pragma unroll
        for (int m = 0; m < SIDE; m++) x[m] = stage.x[(down + m * DOWN) * K_VECTORS + (k ^ row_key<K_VECTORS>(down))];
#pragma unroll
        for (int j = 0; j < VECTOR; j++)
        {
            const float4 *row = stage.weights + (k * VECTOR + j) * N_VECTORS + across;
            float4 low = row[0], high = row[ACROSS];
            f32 w[SIDE] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
            for (int m = 0; m < SIDE; m++)
            {
                f32 value = j == 0 ? x[m].x : j == 1 ? x[m].y : j == 2 ? x[m].z : x[m].w;
#pragma unroll
                for (int n = 0; n < SIDE; n++) sums[m][n] += value * w[n];
            }
        }
    }
}

extern "C" __global__ void BOUNDS conv_ffma(KERNEL_ARGUMENTS(Arguments) a)
{
    await_previous();
    __shared__ Memory memory;
    Stage(&stages)[2] = memory.stages;
    i32 splits = SPLIT == NO_SPLIT ? 1 : a.splits, tile = i32(blockIdx.x) / splits;
#if !TRANSPOSED
    i32 split = i32(blockIdx.x) % splits;
#endif
    i32 first_output = tile % a.channel_tiles * TILE_N, first_pixel = tile / a.channel_tiles * TILE_M;

    Window windows[X_COPIES];
#pragma unroll
    for (int i = 0; i < X_COPIES; i++)
    {
        i32 row = first_pixel + i32(threadIdx.x) / K_VECTORS + i * X_COPY_ROWS;
        windows[i] = TRANSPOSED ? transposed_window_of(a.shape, row) : window_of(a.shape, row);
    }

    i32 tap_steps = (a.shape.inputs + TILE_K - 1) / TILE_K;
#if TRANSPOSED
    u32 taps = 0;
    i32 last_parity = parity_place_of(a.shape, min(first_pixel + TILE_M, a.shape.pixels) - 1).parity;
    for (i32 parity = parity_place_of(a.shape, first_pixel).parity; parity <= last_parity; parity++) taps |= taps_of_parity(a.shape, parity);
    i32 steps = tap_steps * __popc(taps);
    Position next = {__ffs(taps) - 1, 0, taps};
#else
    i32 all_steps = tap_steps * a.shape.kernel * a.shape.kernel;
    i32 first_step = split * all_steps / splits, steps = (split + 1) * all_steps / splits - first_step;
    Position next = {first_step / tap_steps, first_step % tap_steps * TILE_K};
#endif

    i32 down = threadIdx.x / ACROSS, across = threadIdx.x % ACROSS;
    f32 sums[SIDE][SIDE] = {};
    Copies copies;
    if (steps > 0)
    {
        begin_copies(a, windows, first_output, next, stages[0], copies);
        copies.x.end();
        copies.weights.end();
        close_copies();
    }
    for (i32 step = 0; step < steps; step++)
    {
        wait_for_copies<0>();
        __syncthreads();
        bool has_next = step + 1 < steps;
        if (has_next) begin_copies(a, windows, first_output, next, stages[(step + 1) % 2], copies);
        close_copies();
        multiply(stages[step % 2], down, across, sums);
        if (has_next)
        {
            copies.x.end();
            copies.weights.end();
        }
    }

    begin_next();
#if SPLIT == CLUSTER_SPLIT
    __syncthreads();
#pragma unroll
    for (int m = 0; m < SIDE; m++)
    {
        float4 *row = memory.sums + (down + m * DOWN) * N_VECTORS + across;
        row[0] = make_float4(sums[m][0], sums[m][1], sums[m][2], sums[m][3]);
        row[ACROSS] = make_float4(sums[m][4], sums[m][5], sums[m][6], sums[m][7]);
    }
    begin_meeting();
    end_meeting();
    Share rows = share_of<1>(split, splits, TILE_M);
    // Nobody else reads the sums of these pixels here, so they are joined in their place.
    join_in_cluster<THREADS, TILE_N>((f32 *)(memory.sums + rows.first * N_VECTORS), TILE_N, rows.count, splits);
    begin_meeting();
    __syncthreads();
    for (i32 item = threadIdx.x; item < rows.count * N_VECTORS; item += THREADS)
    {
        i32 row = rows.first + item / N_VECTORS, vector = item % N_VECTORS;
        float4 sum = memory.sums[row * N_VECTORS + vector];
        f32 values[VECTOR] = {sum.x, sum.y, sum.z, sum.w};
        if (first_pixel + row < a.shape.pixels)
            finish(a.epilogue, a.shape, first_pixel + row, first_output + vector * VECTOR, a.epilogue.is_vector, values);
    }
    // The others may still be reading this block's sums.
    end_meeting();
#else
#if SPLIT == MEMORY_SPLIT
    constexpr int SUMS = SIDE * SIDE;
    if (!join_in_memory<THREADS, SUMS>(a.workspace, tile, split, splits, (f32(&)[SUMS])sums)) return;
#endif
#pragma unroll
    for (int m = 0; m < SIDE; m++)
    {
        i32 pixel = first_pixel + down + m * DOWN;
        if (pixel >= a.shape.pixels) break;
#if TRANSPOSED
        ParityPlace place = parity_place_of(a.shape, pixel);
        pixel = (place.image * a.shape.out_height + place.row) * a.shape.out_width + place.column;
#endif
#pragma unroll
        for (int half = 0; half < SIDE; half += VECTOR)
        {
            f32 values[VECTOR] = {sums[m][half], sums[m][half + 1], sums[m][half + 2], sums[m][half + 3]};
            i32 output = first_output + (across + half / VECTOR * ACROSS) * VECTOR;
            finish(a.epilogue, a.shape, pixel, output, a.epilogue.is_vector, values);
        }
    }
#endif
}
