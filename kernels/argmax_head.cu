// The class map: arg max over the classes of one image's logits, upsampled bilinearly to the image's size, and its confidence.
//
//   v[c] = bilinear(logits[:, :, c]; r, k),   classes[r, k] = the lowest c with the largest v[c],
//   confidence[r, k] = round(255 / sum over c of exp(v[c] - max v))      (the winner's softmax probability)
//
// logits is one NHWC image (h, w, classes) with a pixel stride; both outputs are bytes with a row stride. Rows are mixed first, then
// columns, each step rounded as on the CPU, so that near ties fall the same way on every backend. The full-size logits are never in memory.
//
// Defines   ELEMENT     f32, f16 or bf16
//           STAGED      1: a block's logits pass through shared memory; 0: they are read in place (logits much larger than the image)
//           CONFIDENCE  1: writes the confidence too
// Launch    grid (ceil(width / 32), ceil(height / 32)), blocks of 256 threads
// Shared    STAGED: source rows of the block * source columns * (classes | 1) * 4 bytes, dynamic
//
// A warp makes 32 columns, a thread ROWS = 4 rows of one column. The block's source pixels (6 x 6 at a factor of 8) are widened to fp32 once.
// A thread takes class after class: four logits, mixed for its four rows. At a factor of 8 the rows lie between the same two source rows,
// for which there is a loop of its own: four loads and two differences serve four outputs. A warp's 32 columns read at most six addresses,
// an odd distance apart: broadcasts without conflicts. The confidence needs the maximum first, so a second pass mixes the values again
// instead of keeping 4 x classes of them.
//
// Bytes: logits once per block tile plus halo, one or two bytes a pixel. Flops: about 8 (with confidence 18) a class and pixel.
#include "bilinear.cuh"
#include "overlap.cuh"

constexpr int THREADS = 256, ROWS = 4, TILE_W = 32, TILE_H = THREADS / TILE_W * ROWS;
// Left to itself the assembler of CUDA 12.4 aims at 48 registers before sm_90, and spills for it.
constexpr int LEAST_BLOCKS = STAGED && !CONFIDENCE ? 4 : 3;

struct Arguments
{
    const ELEMENT *logits;
    u8 *classes;
    u8 *confidence;
    i64 class_stride, confidence_stride;
    i32 logit_stride;
    i32 from_height, from_width, count;
    i32 height, width;
    f32 row_scale, column_scale;
};

// Where a thread's logits lie: element offsets in shared memory or in the image.
struct Window
{
#if STAGED
    const f32 *data;
    i32 left, right, low[ROWS], high[ROWS];
#else
    const ELEMENT *data;
    i64 left, right, low[ROWS], high[ROWS];
#endif
    f32 column_weight, row_weight[ROWS];
};

struct Corners
{
    f32 low_left, low_right, high_left, high_right;
};

__device__ inline Corners load_corners(const Window &w, int row, i32 c)
{
    return {to_float(w.data[w.low[row] + w.left + c]), to_float(w.data[w.low[row] + w.right + c]),
            to_float(w.data[w.high[row] + w.left + c]), to_float(w.data[w.high[row] + w.right + c])};
}

// Calls visit(row, class, value) for classes from `first` on and each of the thread's rows. ONE_BAND: all rows lie between the same two source rows.
template <bool ONE_BAND, class Visit>
__device__ inline void for_each_value(const Window &w, i32 first, i32 count, Visit visit)
{
    for (i32 c = first; c < count; c++)
    {
        Corners v = load_corners(w, 0, c);
#pragma unroll
        for (int r = 0; r < ROWS; r++)
        {
            if (!ONE_BAND && r > 0 && w.low[r] != w.low[r - 1]) v = load_corners(w, r, c);
            visit(r, c, mix(mix(v.low_left, v.high_left, w.row_weight[r]), mix(v.low_right, v.high_right, w.row_weight[r]), w.column_weight));
        }
    }
}

__device__ inline f32 exp_of_negative(f32 value)
{
    f32 result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(value * 1.4426950408889634f));
    return result;
}

template <bool ONE_BAND>
__device__ inline void classify(const Arguments &a, const Window &w, i32 x, i32 y)
{
    f32 best[ROWS] = {};
    i32 winner[ROWS] = {};
    for_each_value<ONE_BAND>(w, 0, 1, [&](int r, i32, f32 value) { best[r] = value; });
    for_each_value<ONE_BAND>(w, 1, a.count, [&](int r, i32 c, f32 value) {
        if (value > best[r]) best[r] = value, winner[r] = c;
    });
#if CONFIDENCE
    f32 sum[ROWS] = {};
    for_each_value<ONE_BAND>(w, 0, a.count, [&](int r, i32, f32 value) { sum[r] += exp_of_negative(value - best[r]); });
#endif
#pragma unroll
    for (int r = 0; r < ROWS; r++)
    {
        if (x >= a.width || y + r >= a.height) continue;
        a.classes[(y + r) * a.class_stride + x] = u8(winner[r]);
#if CONFIDENCE
        a.confidence[(y + r) * a.confidence_stride + x] = u8(255 / sum[r] + 0.5f);
#endif
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, LEAST_BLOCKS) argmax_head(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    i32 first_x = i32(blockIdx.x) * TILE_W, first_y = i32(blockIdx.y) * TILE_H;
    i32 x = first_x + i32(threadIdx.x) % TILE_W, y = first_y + i32(threadIdx.x) / TILE_W * ROWS;
    BilinearTap column = bilinear_tap(min(x, a.width - 1), a.from_width, a.column_scale);
    Window w;
    w.column_weight = column.weight;

#if STAGED
    extern __shared__ f32 staged[];
    i32 source_row = bilinear_tap(first_y, a.from_height, a.row_scale).low;
    i32 source_column = bilinear_tap(first_x, a.from_width, a.column_scale).low;
    i32 rows = bilinear_tap(min(first_y + TILE_H, a.height) - 1, a.from_height, a.row_scale).high - source_row + 1;
    i32 columns = bilinear_tap(min(first_x + TILE_W, a.width) - 1, a.from_width, a.column_scale).high - source_column + 1;
    i32 pitch = a.count | 1;
    // So many pixels a warp loads at once: at a factor of 8 all of its share of 6 x 6.
    constexpr int WARPS = THREADS / 32, AHEAD = 5;
    for (i32 first = i32(threadIdx.x) / 32; first < rows * columns; first += WARPS * AHEAD)
    {
        for (i32 c = i32(threadIdx.x) % 32; c < a.count; c += 32)
        {
            f32 values[AHEAD];
#pragma unroll
            for (int i = 0; i < AHEAD; i++)
            {
                i32 pixel = min(first + i * WARPS, rows * columns - 1);
                i32 row = source_row + pixel / columns, from_column = source_column + pixel % columns;
                values[i] = load_one(a.logits + i64(row * a.from_width + from_column) * a.logit_stride + c);
            }
#pragma unroll
            for (int i = 0; i < AHEAD; i++)
                if (first + i * WARPS < rows * columns) staged[(first + i * WARPS) * pitch + c] = values[i];
        }
    }
    __syncthreads();
    w.data = staged;
    w.left = (column.low - source_column) * pitch;
    w.right = (column.high - source_column) * pitch;
#else
    w.data = a.logits;
    w.left = i64(column.low) * a.logit_stride;
    w.right = i64(column.high) * a.logit_stride;
#endif
#pragma unroll
    for (int r = 0; r < ROWS; r++)
    {
        BilinearTap row = bilinear_tap(min(y + r, a.height - 1), a.from_height, a.row_scale);
        w.row_weight[r] = row.weight;
#if STAGED
        w.low[r] = (row.low - source_row) * columns * pitch;
        w.high[r] = (row.high - source_row) * columns * pitch;
#else
        w.low[r] = i64(row.low) * a.from_width * a.logit_stride;
        w.high[r] = i64(row.high) * a.from_width * a.logit_stride;
#endif
    }

    if (STAGED && w.low[0] == w.low[ROWS - 1]) classify<true>(a, w, x, y);
    else classify<false>(a, w, x, y);
}
