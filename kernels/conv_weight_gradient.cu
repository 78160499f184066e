// Gradient of a dense convolution by its weights, in exact fp32 (FFMA), as a matrix product over pixels:
//
//   dw[o, n] = [dw[o, n] +] sum over pixels p of dy[p, o] * x[pixel of p's tap t, i]      n = t * inputs + i, kernel 1 or 3, stride 1 or 2
//
// x and dy are NHWC channel slices of fp32, dw is [outputs][taps][inputs].
//
// Defines   SPLIT    how blocks share a tile's sum: NO_SPLIT or MEMORY_SPLIT (split_k.cuh)
//           WIDTH    values that are copied at once: 4 where x and dy start on 16 bytes and their pixel strides and channels are of whole 16 bytes;
//                    1 for everything else
// Launch    grid splits of the pixels x tiles of n x tiles of outputs, the first fastest; block 64
// Shared    static, 16.6 KB
//
// A block makes 64 outputs x 64 n, a thread 8x8 of them. A step takes 16 pixels, whose channels lie together in both maps, so both operands come as
// the product wants them; two steps' values lie in shared memory, and one is multiplied while the next is copied (cp.async from sm_80 on). A
// thread's column of n does not change, so neither does its tap; where pixels' windows lie is computed by sixteen threads, two steps ahead.
//
// Pixels are by far the longest axis, and tiles few: blocks share a tile's sum (split_k.cuh), each some of the steps.
//
// Bytes: dy once a tile of n, x once a tap and tile of outputs, from L2; dw once. Flops: 2 a pixel and weight.
#include "conv.cuh"
#include "copy_batch.cuh"
#include "overlap.cuh"
#include "split_k.cuh"

constexpr int VECTOR = 4, SIDE = 8, TILE = 64, STEP = 16, ACROSS = TILE / SIDE, THREADS = ACROSS * ACROSS, VECTORS = TILE / VECTOR;
constexpr int COLUMNS = TILE / WIDTH, COPY_ROWS = THREADS / COLUMNS, COPIES = STEP / COPY_ROWS;
static_assert(COPIES * COPY_ROWS == STEP, "whole rounds of copies");

struct Arguments
{
    const f32 *x;
    const f32 *dy;
    f32 *dw;
    ConvShape shape;
    i32 dy_stride, accumulate;
    SplitWorkspace workspace;
    // is_vector: dw's rows can be accessed 16 bytes at a time.
    i32 column_tiles, splits, is_vector;
};

struct Stage
{
    float4 dy[STEP * VECTORS];
    float4 x[STEP * VECTORS];
};

// What a thread copies of each step: a column of dy and one of x, of some pixels.
struct Columns
{
    // The channel of dy; -1 where there is none.
    i32 output;
    // Bit of the tap of x's column; 0 where there is none. And elements from a window's corner.
    u32 tap;
    i64 offset;
};

__device__ inline Columns columns_of(const Arguments &a, i32 first_output, i32 first_n)
{
    const ConvShape &s = a.shape;
    i32 column = threadIdx.x % COLUMNS * WIDTH, output = first_output + column, n = first_n + column, tap = n / s.inputs;
    Columns c = {output < s.outputs ? output : -1, 0, 0};
    if (tap >= s.kernel * s.kernel) return c;
    c.tap = 1u << tap;
    c.offset = i64(tap / s.kernel * s.width + tap % s.kernel) * s.x_stride + n % s.inputs;
    return c;
}

#if WIDTH == 4
struct Copies
{
#if __CUDA_ARCH__ >= 800
    CopyBatch<COPIES, true> dy, x;
#else
    CopyBatch<COPIES, false> dy, x;
#endif
};
#else
// Through registers, one value at a time.
struct Copies
{
    f32 dy[COPIES], x[COPIES];
};
#endif

__device__ inline void begin_copies(
    const Arguments &a, const Columns &c, const Window (&windows)[STEP], i32 first_pixel, Stage &stage, Copies &copies)
{
#pragma unroll
    for (int i = 0; i < COPIES; i++)
    {
        i32 row = threadIdx.x / COLUMNS + i * COPY_ROWS, pixel = first_pixel + row;
        bool has_dy = c.output >= 0 && pixel < a.shape.pixels, has_x = windows[row].taps & c.tap;
        const f32 *dy = has_dy ? a.dy + i64(pixel) * a.dy_stride + c.output : a.dy, *x = has_x ? a.x + windows[row].corner + c.offset : a.x;
#if WIDTH == 4
        i32 place = row * VECTORS + threadIdx.x % COLUMNS;
        copies.dy.begin(i, stage.dy + place, dy, has_dy);
        copies.x.begin(i, stage.x + place, x, has_x);
#else
        copies.dy[i] = load_one_if(has_dy, dy);
        copies.x[i] = load_one_if(has_x, x);
#endif
    }
}

__device__ inline void end_copies(Stage &stage, Copies &copies)
{
#if WIDTH == 4
    copies.dy.end();
    copies.x.end();
#else
#pragma unroll
    for (int i = 0; i < COPIES; i++)
    {
        i32 place = (threadIdx.x / COLUMNS + i * COPY_ROWS) * TILE + threadIdx.x % COLUMNS;
        ((f32 *)stage.dy)[place] = copies.dy[i];
        ((f32 *)stage.x)[place] = copies.x[i];
    }
#endif
}

// Rows of a thread are four neighbours and four half a tile away, as its columns.
__device__ inline void multiply(const Stage &stage, i32 down, i32 across, f32 (&sums)[SIDE][SIDE])
{
#pragma unroll
    for (int k = 0; k < STEP; k++)
    {
        const float4 *dy_row = stage.dy + k * VECTORS + down, *x_row = stage.x + k * VECTORS + across;
        float4 first = dy_row[0], second = dy_row[ACROSS], low = x_row[0], high = x_row[ACROSS];
        f32 dy[SIDE] = {first.x, first.y, first.z, first.w, second.x, second.y, second.z, second.w};
        f32 x[SIDE] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
        for (int m = 0; m < SIDE; m++)
        {
#pragma unroll
            for (int n = 0; n < SIDE; n++) sums[m][n] += dy[m] * x[n];
        }
    }
}

__device__ inline void store_sums(const Arguments &a, i32 output, i32 n, i32 row, const f32 *sums)
{
    if (output >= a.shape.outputs) return;
    f32 *to = a.dw + i64(output) * row + n;
    if (a.is_vector && n < row)
    {
        float4 before = a.accumulate ? *(const float4 *)to : make_float4(0, 0, 0, 0);
        *(float4 *)to = make_float4(before.x + sums[0], before.y + sums[1], before.z + sums[2], before.w + sums[3]);
        return;
    }
#pragma unroll
    for (int i = 0; i < VECTOR; i++)
    {
        if (n + i < row) to[i] = a.accumulate ? to[i] + sums[i] : sums[i];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) conv_weight_gradient(KERNEL_ARGUMENTS(Arguments) a)
{
    await_previous();
    __shared__ Stage stages[2];
    __shared__ Window windows[2][STEP];
    i32 splits = SPLIT == NO_SPLIT ? 1 : a.splits, tile = i32(blockIdx.x) / splits, split = i32(blockIdx.x) % splits;
    i32 first_n = tile % a.column_tiles * TILE, first_output = tile / a.column_tiles * TILE;
    Columns columns = columns_of(a, first_output, first_n);

    i32 all_steps = (a.shape.pixels + STEP - 1) / STEP;
    i32 first_step = i32(i64(split) * all_steps / splits), steps = i32(i64(split + 1) * all_steps / splits) - first_step;
    auto make_windows = [&](i32 step)
    {
        if (step < steps && threadIdx.x < STEP)
            windows[step % 2][threadIdx.x] = window_of(a.shape, (first_step + step) * STEP + i32(threadIdx.x));
    };

    i32 down = threadIdx.x / ACROSS, across = threadIdx.x % ACROSS;
    f32 sums[SIDE][SIDE] = {};
    Copies copies;
    make_windows(0);
    make_windows(1);
    __syncthreads();
    if (steps > 0)
    {
        begin_copies(a, columns, windows[0], first_step * STEP, stages[0], copies);
        end_copies(stages[0], copies);
        close_copies();
    }
    for (i32 step = 0; step < steps; step++)
    {
        wait_for_copies<0>();
        __syncthreads();
        bool has_next = step + 1 < steps;
        if (has_next)
            begin_copies(a, columns, windows[(step + 1) % 2], (first_step + step + 1) * STEP, stages[(step + 1) % 2], copies);
        close_copies();
        // Of this step they were needed for its copies alone, which all threads have begun.
        make_windows(step + 2);
        multiply(stages[step % 2], down, across, sums);
        if (has_next) end_copies(stages[(step + 1) % 2], copies);
    }

    begin_next();
#if SPLIT == MEMORY_SPLIT
    constexpr int SUMS = SIDE * SIDE;
    if (!join_in_memory<THREADS, SUMS>(a.workspace, tile, split, splits, (f32(&)[SUMS])sums)) return;
#endif
    i32 row = a.shape.kernel * a.shape.kernel * a.shape.inputs;
#pragma unroll
    for (int m = 0; m < SIDE; m++)
    {
        i32 output = first_output + (m / VECTOR * ACROSS + down) * VECTOR + m % VECTOR;
#pragma unroll
        for (int half = 0; half < SIDE; half += VECTOR)
            store_sums(a, output, first_n + (half / VECTOR * ACROSS + across) * VECTOR, row, sums[m] + half);
    }
}
