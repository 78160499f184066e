// Gradient of a bias: the sum of the output's gradient over all pixels.
//
//   db[c] = sum over p of dy[p, c]   or, where it accumulates, that added to what is there
//
// dy is a channel slice (pointer to the first channel, pixel stride); db are fp32 values without gaps.
//
// Defines   WIDTH  channels a thread sums: 4 where the slice allows, else 1
// Launch    grid (chunks of the pixels, groups of channels), block THREADS = 256 (channel_parts.cuh)
// Shared    up to 2 KiB
//
// A thread loads four pixels before it adds the first, and adds them in pairs. Sums are fp32, over blocks and rows as a tree: what is left of their
// rounding grows with a thread's pixels: some dozens to, in the largest batches, two thousand.
//
// Bytes: dy once. Flops: 1 an element.
#include "channel_parts.cuh"
#include "overlap.cuh"

constexpr int THREADS = 256, PIXELS = 4;

struct Arguments
{
    ChannelReduction reduction;
    const f32 *dy;
    f32 *db;
    i32 dy_stride, accumulate;
};

extern "C" __global__ void __launch_bounds__(THREADS) bias_gradient(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    ThreadPart t = part_of_thread<THREADS, WIDTH>(a.reduction.parts);
    Sums<WIDTH> sums = {};
    for (i64 p = t.first; p < t.end; p += PIXELS * t.rows)
    {
        f32 dy[PIXELS][WIDTH] = {};
#pragma unroll
        for (int i = 0; i < PIXELS; i++)
        {
            if (p + i * t.rows < t.end) load_plain(a.dy + (p + i * t.rows) * a.dy_stride + t.channel, dy[i]);
        }
#pragma unroll
        for (int i = 0; i < WIDTH; i++) sums.values[i] += (dy[0][i] + dy[1][i]) + (dy[2][i] + dy[3][i]);
    }
    if (!merge_all<THREADS>(a.reduction, t, sums) || t.channel >= a.reduction.parts.channels) return;
#pragma unroll
    for (int i = 0; i < WIDTH; i++)
    {
        f32 *db = a.db + t.channel + i;
        *db = a.accumulate ? *db + sums.values[i] : sums.values[i];
    }
}
