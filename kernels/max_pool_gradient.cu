// Gradient of the 3x3 maximum of stride 2 and padding 1 (max_pool.cu), as a gather over dx:
//
//   dx[n, r, k, c] = the sum of dy over the windows whose first maximum in row order, or whose last NaN, x[n, r, k, c] is
//                    or is added to, with ACCUMULATE
//
// x and dx (n, H, W, c) and dy (n, ceil(H/2), ceil(W/2), c) are NHWC channel slices, fp32 as all maps of training; dx overlaps neither.
//
// Defines   WIDTH       channels a thread moves at once: 4 where all slices lie on 16 bytes, else 1
//           ACCUMULATE  0 or 1
// Launch    block (lanes over channels, columns of dy), grid (column blocks, ROWS-row bands of dy, n)
// Shared    none
//
// A thread makes WIDTH channels of two columns of dx, those of one window and its right neighbour's left one, and goes down 2 * ROWS = 8 rows. A row
// of windows is looked at once a thread and hands on the row of x that it shares with the next, so 4 elements of dx take 10 loads of x; where the
// windows' places were kept by the forward pass, it would be 4 loads and a map more in memory throughout the step. Sums are in the
// windows' order, so a launch gives the same bits each time.
//
// Bytes: x and dy once, and of each band of 8 rows of x 3 more; dx once, with ACCUMULATE twice. Flops: up to 4 an element.
#include "overlap.cuh"
#include "types.cuh"

constexpr int ROWS = 4, COLUMNS = 5;

struct Arguments
{
    const f32 *x;
    const f32 *dy;
    f32 *dx;
    i32 x_stride, dy_stride, dx_stride;
    i32 height, width, channels;
};

using Row = f32[COLUMNS][WIDTH];

// Two neighbouring windows: where each one's maximum lies, numbered in row order from 0 to 8, and its gradient.
struct Windows
{
    i32 place[2][WIDTH];
    f32 gradient[2][WIDTH];
};

// The five columns of x that two windows cover; what lies outside the map never wins.
__device__ inline void load_row(const Arguments &a, const f32 *image, i32 row, i32 column, i32 c, Row &values)
{
    const f32 *line = image + i64(min(max(row, 0), a.height - 1)) * a.width * a.x_stride + c;
#pragma unroll
    for (int k = 0; k < COLUMNS; k++)
    {
        i32 at = 2 * column - 1 + k;
        bool inside = row >= 0 && row < a.height && at >= 0 && at < a.width;
        load(line + i64(min(max(at, 0), a.width - 1)) * a.x_stride, values[k]);
#pragma unroll
        for (int i = 0; i < WIDTH; i++) values[k][i] = inside ? values[k][i] : -__int_as_float(0x7f800000);
    }
}

__device__ inline void look(const Row &values, i32 line, f32 (&maximum)[2][WIDTH], Windows &w)
{
#pragma unroll
    for (int window = 0; window < 2; window++)
#pragma unroll
        for (int k = 0; k < 3; k++)
#pragma unroll
            for (int i = 0; i < WIDTH; i++)
            {
                f32 value = values[2 * window + k][i];
                if (!(value > maximum[window][i] || value != value)) continue;
                maximum[window][i] = value;
                w.place[window][i] = 3 * line + k;
            }
}

// The windows (row, column) and (row, column + 1). `shared` is the row of x above them and becomes their last.
__device__ inline void find(const Arguments &a, i32 n, i32 row, i32 column, i32 c, Row &shared, Windows &w)
{
    i32 down = (a.height + 1) / 2, across = (a.width + 1) / 2;
    const f32 *image = a.x + i64(n) * a.height * a.width * a.x_stride;
    f32 maximum[2][WIDTH];
#pragma unroll
    for (int window = 0; window < 2; window++)
    {
        bool inside = row < down && column + window < across;
        if (inside) load(a.dy + ((i64(n) * down + row) * across + column + window) * a.dy_stride + c, w.gradient[window]);
#pragma unroll
        for (int i = 0; i < WIDTH; i++)
        {
            if (!inside) w.gradient[window][i] = 0;
            maximum[window][i] = -__int_as_float(0x7f800000);
            // Where nothing is larger than minus infinity: the first that lies inside the map.
            w.place[window][i] = (row == 0 ? 3 : 0) + (column + window == 0 ? 1 : 0);
        }
    }
    if (row >= down) return;
    look(shared, 0, maximum, w);
    Row middle;
    load_row(a, image, 2 * row, column, c, middle);
    load_row(a, image, 2 * row + 1, column, c, shared);
    look(middle, 1, maximum, w);
    look(shared, 2, maximum, w);
}

__device__ inline void take(const Windows &w, int window, i32 place, f32 (&sum)[WIDTH])
{
#pragma unroll
    for (int i = 0; i < WIDTH; i++) sum[i] += w.place[window][i] == place ? w.gradient[window][i] : 0;
}

__device__ inline void put(const Arguments &a, i32 n, i32 row, i32 column, i32 c, f32 (&sum)[WIDTH])
{
    if (row >= a.height || column >= a.width) return;
    f32 *target = a.dx + ((i64(n) * a.height + row) * a.width + column) * a.dx_stride + c;
#if ACCUMULATE
    f32 old[WIDTH];
    load_plain<f32>(target, old);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) sum[i] += old[i];
#endif
    store_vector(target, sum);
}

extern "C" __global__ void __launch_bounds__(256, 2) max_pool_gradient(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    i32 down = (a.height + 1) / 2, across = (a.width + 1) / 2, n = i32(blockIdx.z);
    i32 column = i32(blockIdx.x * blockDim.y + threadIdx.y), first = i32(blockIdx.y) * ROWS;
    if (column >= across) return;
    for (i32 c = i32(threadIdx.x) * WIDTH; c < a.channels; c += i32(blockDim.x) * WIDTH)
    {
        Row shared;
        load_row(a, a.x + i64(n) * a.height * a.width * a.x_stride, 2 * first - 1, column, c, shared);
        // The row of dx that two rows of windows share, without what the lower ones give.
        f32 low_left[WIDTH], low_right[WIDTH];
        i32 end = min(first + ROWS, down);
#pragma unroll 1
        for (i32 row = first; row <= end; row++)
        {
            Windows w;
            find(a, n, row, column, c, shared, w);
            if (row > first)
            {
                take(w, 0, 1, low_left);
                put(a, n, 2 * row - 1, 2 * column, c, low_left);
                take(w, 0, 2, low_right);
                take(w, 1, 0, low_right);
                put(a, n, 2 * row - 1, 2 * column + 1, c, low_right);
            }
            if (row == end) break;
            f32 left[WIDTH] = {}, right[WIDTH] = {};
            take(w, 0, 4, left);
            put(a, n, 2 * row, 2 * column, c, left);
            take(w, 0, 5, right);
            take(w, 1, 3, right);
            put(a, n, 2 * row, 2 * column + 1, c, right);
#pragma unroll
            for (int i = 0; i < WIDTH; i++) low_left[i] = low_right[i] = 0;
            take(w, 0, 7, low_left);
            take(w, 0, 8, low_right);
            take(w, 1, 6, low_right);
        }
    }
}
