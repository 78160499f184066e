// Bilinear resampling (half-pixel centres) with an affine map per channel, into a channel slice:
//
//   y[n, r, k, c] = scale[c] * bilinear(x[n, :, :, c]; r, k) + shift[c]
//
// for up to MAX_MAPS pairs of x and y in one launch: the decoder brings two stages to a third one's size. x and y are NHWC channel slices
// (pointer to the first channel, pixel stride); all y have one size and one number of channels, x any size. scale and shift are fp32 and null
// together.
//
// Defines   ELEMENT  f32, f16 or bf16
//           WIDTH    channels a thread moves at once: 16 bytes' worth where slices and channels allow, else 1
// Launch    block (lanes over channels, columns of y), grid (column blocks, ROWS-row bands, maps * n)
// Shared    none
//
// A thread makes WIDTH channels of one column in ROWS = 4 neighbouring rows. It keeps the two source rows mixed along the width in registers
// and fetches a new one only where the band crosses a source row, so upsampling by two loads 6 to 8 vectors for 4 outputs and by four 4 to 6,
// where 16 would be needed row by row. Neighbouring columns share source pixels through L1. No shared memory: the source tile is a
// quarter (a sixteenth) of the output, and L1 serves it at the same rate.
//
// Bytes: x once per block tile plus one pixel of halo, y once. Flops: about 8 an element.
#include "bilinear.cuh"
#include "overlap.cuh"

constexpr int ROWS = 4;

constexpr int MAX_MAPS = 4;

struct Resampling
{
    const ELEMENT *x;
    ELEMENT *y;
    const f32 *scale;
    const f32 *shift;
    i32 x_stride, y_stride;
    i32 from_height, from_width;
    f32 row_scale, column_scale;
};

struct Arguments
{
    Resampling maps[MAX_MAPS];
    i32 images, height, width, channels;
};

__device__ inline void mix_columns(const ELEMENT *row, const BilinearTap &column, i32 stride, f32 (&values)[WIDTH])
{
    f32 right[WIDTH];
    load(row + i64(column.low) * stride, values);
    load(row + i64(column.high) * stride, right);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) values[i] = mix(values[i], right[i], column.weight);
}

extern "C" __global__ void __launch_bounds__(256) upsample(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    const Resampling &m = a.maps[blockIdx.z / a.images];
    i32 image = blockIdx.z % a.images;
    i32 x = i32(blockIdx.x * blockDim.y + threadIdx.y), first = i32(blockIdx.y) * ROWS;
    if (x >= a.width) return;
    BilinearTap column = bilinear_tap(x, m.from_width, m.column_scale);
    const ELEMENT *source = m.x + i64(image) * m.from_height * m.from_width * m.x_stride;
    ELEMENT *target = m.y + (i64(image) * a.height * a.width + x) * m.y_stride;

    for (i32 c = i32(threadIdx.x) * WIDTH; c < a.channels; c += i32(blockDim.x) * WIDTH)
    {
        f32 scale[WIDTH], shift[WIDTH], low[WIDTH], high[WIDTH];
        if (m.scale)
        {
            load(m.scale + c, scale);
            load(m.shift + c, shift);
        }
        i32 low_row = -1, high_row = -1;
#pragma unroll
        for (int r = 0; r < ROWS; r++)
        {
            if (first + r >= a.height) break;
            BilinearTap row = bilinear_tap(first + r, m.from_height, m.row_scale);
            if (row.low != low_row)
            {
                if (row.low == high_row)
                {
#pragma unroll
                    for (int i = 0; i < WIDTH; i++) low[i] = high[i];
                }
                else
                {
                    mix_columns(source + i64(row.low) * m.from_width * m.x_stride + c, column, m.x_stride, low);
                }
                low_row = row.low;
            }
            if (row.high != high_row)
            {
                mix_columns(source + i64(row.high) * m.from_width * m.x_stride + c, column, m.x_stride, high);
                high_row = row.high;
            }
            f32 values[WIDTH];
#pragma unroll
            for (int i = 0; i < WIDTH; i++) values[i] = mix(low[i], high[i], row.weight);
            if (m.scale)
            {
#pragma unroll
                for (int i = 0; i < WIDTH; i++) values[i] = __fmaf_rn(values[i], scale[i], shift[i]);
            }
            store(target + i64(first + r) * a.width * m.y_stride + c, values);
        }
    }
}
