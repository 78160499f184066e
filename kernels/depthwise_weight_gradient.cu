// Gradient of a depth-wise 3x3 convolution (depthwise_conv) by its weights.
//
//   dw[ky, kx, o] = sum over n, r, k of dy[n, r, k, o] * x[n, r + (ky-1)*d, k + (kx-1)*d, o / m]
//
// or, where it accumulates, that added to what is there; d is the dilation, m the channel multiplier, and outside the map x is zero. x and dy are
// channel slices (pointer to the first channel, pixel stride) of maps with the same pixels; dw are fp32 values [9][channels of dy].
//
// Defines   WIDTH       channels of dy a thread takes: 4 where the slices allow, else 1
//           MULTIPLIER  m, 1 or 2; 0 for any, with a WIDTH of 1
// Launch    grid (chunks of the pixels, groups of channels), block THREADS = 256 (channel_parts.cuh)
// Shared    up to 18 KiB
//
// A thread keeps the nine sums of its channels in registers. Neighbours in the map read the same x again, which is what L1 and L2 are for.
//
// Bytes: x and dy once. Flops: 18 an element of dy.
#include "depthwise_taps.cuh"
#include "overlap.cuh"

constexpr int THREADS = 256, TAPS = 9, INPUTS = MULTIPLIER == 2 ? WIDTH / 2 : WIDTH;

struct Arguments
{
    ChannelReduction reduction;
    TapShape shape;
    i32 multiplier;
    const f32 *x;
    const f32 *dy;
    f32 *dw;
    i32 x_stride, dy_stride, accumulate, padding;
};

extern "C" __global__ void __launch_bounds__(THREADS, 2) depthwise_weight_gradient(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    ThreadPart t = part_of_thread<THREADS, WIDTH>(a.reduction.parts);
    Sums<TAPS * WIDTH> sums = {};
    i64 column_offset = i64(a.shape.dilation) * a.x_stride, row_offset = column_offset * a.shape.width;
    const f32 *x_channel = a.x + t.channel / (MULTIPLIER == 0 ? a.multiplier : MULTIPLIER);
    PixelPlace place(a.shape, t.first);
    for (i64 p = t.first; p < t.end; p += t.rows, place.advance(a.shape))
    {
        f32 dy[WIDTH], x[TAPS][INPUTS] = {};
        load_plain(a.dy + p * a.dy_stride + t.channel, dy);
        const f32 *center = x_channel + p * a.x_stride;
#pragma unroll
        for (int tap = 0; tap < TAPS; tap++)
        {
            int dr = tap / 3 - 1, dc = tap % 3 - 1;
            if (place.has(a.shape, dr, dc)) load_plain(center + dr * row_offset + dc * column_offset, x[tap]);
        }
#pragma unroll
        for (int tap = 0; tap < TAPS; tap++)
        {
#pragma unroll
            for (int i = 0; i < WIDTH; i++) sums.values[tap * WIDTH + i] += dy[i] * x[tap][i * INPUTS / WIDTH];
        }
    }
    if (!merge_all<THREADS>(a.reduction, t, sums) || t.channel >= a.reduction.parts.channels) return;
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++)
    {
#pragma unroll
        for (int i = 0; i < WIDTH; i++)
        {
            f32 *dw = a.dw + tap * a.reduction.parts.channels + t.channel + i;
            *dw = a.accumulate ? *dw + sums.values[tap * WIDTH + i] : sums.values[tap * WIDTH + i];
        }
    }
}
