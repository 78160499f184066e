// Gradient of a depth-wise 3x3 convolution (depthwise_conv) by its input, gathered: every element of dx is written by one thread.
//
//   dx[n, r, k, g] = sum over ky, kx and o = g*m ... g*m + m-1 of w[ky, kx, o] * dy[n, r - (ky-1)*d, k - (kx-1)*d, o]
//
// or, with ACCUMULATE, that added to what is there; d is the dilation, m the channel multiplier, and outside the map dy is zero. dy and dx are
// channel slices (pointer to the first channel, pixel stride) of maps with the same pixels and do not overlap; w are fp32 values [9][channels of dy].
//
// Defines   WIDTH       channels of dx a thread makes: 4 / m where the slices allow, else 1
//           MULTIPLIER  m, 1 or 2; 0 for any, with a WIDTH of 1
//           ACCUMULATE  0 or 1
// Launch    grid (chunks of the pixels, groups of channels), block THREADS = 128 (channel_parts.cuh)
// Shared    none
//
// A thread keeps its channels' 36 weights in registers (of any m, reads them from L1) and goes over its pixels with 16 bytes of dy a tap. Pixels
// share dy through L1.
//
// Bytes: dy once, dx once, or twice where it accumulates. Flops: 18 an element of dy.
#include "depthwise_taps.cuh"
#include "overlap.cuh"

constexpr int THREADS = 128, TAPS = 9;

struct Arguments
{
    ChannelParts parts;
    TapShape shape;
    i32 multiplier;
    const f32 *weights;
    const f32 *dy;
    f32 *dx;
    i32 dy_stride, dx_stride;
};

extern "C" __global__ void __launch_bounds__(THREADS) depthwise_data_gradient(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    ThreadPart t = part_of_thread<THREADS, WIDTH>(a.parts);
    i32 multiplier = MULTIPLIER == 0 ? a.multiplier : MULTIPLIER, output = t.channel * multiplier, outputs = a.parts.channels * multiplier;
    i64 column_offset = i64(a.shape.dilation) * a.dy_stride, row_offset = column_offset * a.shape.width;
#if MULTIPLIER != 0
    constexpr int VECTOR = WIDTH * MULTIPLIER;
    f32 weights[TAPS][VECTOR];
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++)
    {
#pragma unroll
        for (int i = 0; i < VECTOR; i++) weights[tap][i] = t.first < t.end ? load_one(a.weights + tap * outputs + output + i) : 0;
    }
#endif
    PixelPlace place(a.shape, t.first);
    for (i64 p = t.first; p < t.end; p += t.rows, place.advance(a.shape))
    {
        const f32 *center = a.dy + p * a.dy_stride + output;
        f32 *to = a.dx + p * a.dx_stride + t.channel, dx[WIDTH] = {};
#if ACCUMULATE
        load_plain(to, dx);
#endif
#if MULTIPLIER != 0
        f32 dy[TAPS][VECTOR] = {};
#pragma unroll
        for (int tap = 0; tap < TAPS; tap++)
        {
            int dr = 1 - tap / 3, dc = 1 - tap % 3;
            if (place.has(a.shape, dr, dc)) load_plain(center + dr * row_offset + dc * column_offset, dy[tap]);
        }
#pragma unroll
        for (int tap = 0; tap < TAPS; tap++)
        {
#pragma unroll
            for (int i = 0; i < VECTOR; i++) dx[i / MULTIPLIER] += weights[tap][i] * dy[tap][i];
        }
#else
#pragma unroll 1
        for (int tap = 0; tap < TAPS; tap++)
        {
            int dr = 1 - tap / 3, dc = 1 - tap % 3;
            if (!place.has(a.shape, dr, dc)) continue;
            const f32 *from = center + dr * row_offset + dc * column_offset, *weights = a.weights + tap * outputs + output;
            for (i32 i = 0; i < multiplier; i++) dx[0] += load_one(weights + i) * from[i];
        }
#endif
        store(to, dx);
    }
}
