// Gradient of bilinear resampling (half-pixel centres, bilinear.cuh): its transpose, as a gather over dx:
//
//   dx[n, r, k, c] = sum over the rows i and columns j of dy of weight(i, r) * weight(j, k) * dy[n, i, j, c]
//                    or is added to, with ACCUMULATE
//
// where weight(j, k) is what the forward pass takes of column k for column j, of the same rounded position. dy and dx are NHWC channel slices of any
// two sizes, fp32 as all maps of training, that don't overlap.
//
// Defines   WIDTH       channels a thread moves at once: 4 where both slices lie on 16 bytes, else 1
//           ACCUMULATE  0 or 1
// Launch    block (lanes over channels, columns of dx), grid (column blocks, ROWS-row bands of dx, n)
// Shared    none
//
// A thread makes WIDTH channels of one column in ROWS = 2 neighbouring rows of dx. It reduces STEP = 2 rows of dy at once along the width, so that a
// column's weight is made once for both, and adds each to the rows of dx by its weights. A gather reads an element of dy for each of the four
// elements of dx that it stands between (three, with two rows a thread), from L1 or L2; a scatter would read it once and need atomics, whose
// sums differ from launch to launch.
//
// Bytes: dy once, and once more in L2 what bands share; dx once, with ACCUMULATE twice. Flops: 6 an element of dy.
#include "bilinear.cuh"
#include "overlap.cuh"

constexpr int ROWS = 2, STEP = 2;

struct Arguments
{
    const f32 *dy;
    f32 *dx;
    i32 dy_stride, dx_stride;
    i32 dy_height, dy_width;
    i32 height, width, channels;
    f32 row_scale, column_scale;
    i32 padding;
};

// The first output that takes a part of input `index`, of an axis of `to` outputs: positions only grow, and its own lies above index - 1.
__device__ inline i32 first_output(i32 index, i32 to, f32 scale)
{
    if (index == 0) return 0;
    f32 before = f32(index - 1);
    i32 output = min(max(i32((before + 0.5f) / scale - 0.5f), 0), to - 1);
    while (output > 0 && bilinear_position(output - 1, scale) > before) output--;
    while (output < to && bilinear_position(output, scale) <= before) output++;
    return output;
}

// The part that an output at `position` takes of input `index`, 0 where none.
__device__ inline f32 weight_of(f32 position, i32 index, i32 last)
{
    f32 distance = position - f32(index);
    if (distance < 0) return fmaxf(1 + distance, 0);
    return index == last ? 1 : fmaxf(1 - distance, 0);
}

extern "C" __global__ void __launch_bounds__(256) resize_gradient(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    i32 column = i32(blockIdx.x * blockDim.y + threadIdx.y), first = i32(blockIdx.y) * ROWS;
    if (column >= a.width) return;
    i32 first_row = first_output(first, a.dy_height, a.row_scale), first_column = first_output(column, a.dy_width, a.column_scale);
    i32 end_row = first + ROWS < a.height ? first_output(first + ROWS + 1, a.dy_height, a.row_scale) : a.dy_height;
    i32 end_column = column + 1 < a.width ? first_output(column + 2, a.dy_width, a.column_scale) : a.dy_width;
    const f32 *source = a.dy + i64(blockIdx.z) * a.dy_height * a.dy_width * a.dy_stride;
    f32 *target = a.dx + ((i64(blockIdx.z) * a.height + first) * a.width + column) * a.dx_stride;

    for (i32 c = i32(threadIdx.x) * WIDTH; c < a.channels; c += i32(blockDim.x) * WIDTH)
    {
        f32 sums[ROWS][WIDTH] = {};
        for (i32 i = first_row; i < end_row; i += STEP)
        {
            f32 reduced[STEP][WIDTH] = {};
            const f32 *rows[STEP];
#pragma unroll
            for (int s = 0; s < STEP; s++) rows[s] = source + i64(min(i + s, end_row - 1)) * a.dy_width * a.dy_stride + c;
            for (i32 j = first_column; j < end_column; j++)
            {
                f32 weight = weight_of(bilinear_position(j, a.column_scale), column, a.width - 1);
#pragma unroll
                for (int s = 0; s < STEP; s++)
                {
                    f32 gradient[WIDTH];
                    load(rows[s] + i64(j) * a.dy_stride, gradient);
#pragma unroll
                    for (int k = 0; k < WIDTH; k++) reduced[s][k] += weight * gradient[k];
                }
            }
#pragma unroll
            for (int s = 0; s < STEP; s++)
            {
                f32 position = bilinear_position(i + s, a.row_scale);
#pragma unroll
                for (int r = 0; r < ROWS; r++)
                {
                    f32 weight = i + s < end_row ? weight_of(position, first + r, a.height - 1) : 0;
#pragma unroll
                    for (int k = 0; k < WIDTH; k++) sums[r][k] += weight * reduced[s][k];
                }
            }
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++)
        {
            if (first + r >= a.height) break;
            f32 *to = target + i64(r) * a.width * a.dx_stride + c;
#if ACCUMULATE
            f32 old[WIDTH];
            load_plain<f32>(to, old);
#pragma unroll
            for (int k = 0; k < WIDTH; k++) sums[r][k] += old[k];
#endif
            store_vector(to, sums[r]);
        }
    }
}
