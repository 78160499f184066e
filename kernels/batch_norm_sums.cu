// Gradient of a batch norm in training by its scale and shift, and what the gradient by its input (batch_norm_gradient) is made with.
//
//   dbeta[c] = sum over p of dy[p, c],   dgamma[c] = inverse[c] * sum over p of dy[p, c] * (x[p, c] - mean[c])
//   k = gamma[c] * inverse[c];   coefficients[0][c] = k,   [1][c] = -k * inverse[c] * dgamma[c] / pixels,   [2][c] = -k * dbeta[c] / pixels
//   coefficients[3][c] = mean[c]
//
// x and dy are channel slices (pointer to the first channel, pixel stride) of maps with the same pixels; all others are fp32 values, rows of
// coefficients `pitch` apart.
//
// Defines   WIDTH  channels a thread sums: 4 where the slices allow, else 1
// Launch    grid (chunks of the pixels, groups of channels), block THREADS = 256 (channel_parts.cuh)
// Shared    up to 4 KiB
//
// Bytes: x and dy once. Flops: 4 an element.
#include "channel_parts.cuh"
#include "overlap.cuh"

constexpr int THREADS = 256, PIXELS = 4;

struct Arguments
{
    ChannelReduction reduction;
    const f32 *x;
    const f32 *dy;
    const f32 *gamma;
    const f32 *mean;
    const f32 *inverse;
    f32 *dgamma;
    f32 *dbeta;
    f32 *coefficients;
    i32 x_stride, dy_stride, pitch, padding;
};

extern "C" __global__ void __launch_bounds__(THREADS) batch_norm_sums(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    ThreadPart t = part_of_thread<THREADS, WIDTH>(a.reduction.parts);
    bool has_channels = t.channel < a.reduction.parts.channels;
    f32 mean[WIDTH];
#pragma unroll
    for (int i = 0; i < WIDTH; i++) mean[i] = has_channels ? a.mean[t.channel + i] : 0;
    // Those of dy, then those of dy * (x - mean).
    Sums<2 * WIDTH> sums = {};
    for (i64 p = t.first; p < t.end; p += PIXELS * t.rows)
    {
        f32 x[PIXELS][WIDTH], dy[PIXELS][WIDTH];
#pragma unroll
        for (int i = 0; i < PIXELS; i++)
        {
            if (p + i * t.rows >= t.end) continue;
            load_plain(a.x + (p + i * t.rows) * a.x_stride + t.channel, x[i]);
            load_plain(a.dy + (p + i * t.rows) * a.dy_stride + t.channel, dy[i]);
        }
#pragma unroll
        for (int i = 0; i < PIXELS; i++)
        {
            if (p + i * t.rows >= t.end) continue;
#pragma unroll
            for (int c = 0; c < WIDTH; c++)
            {
                sums.values[c] += dy[i][c];
                sums.values[WIDTH + c] += dy[i][c] * (x[i][c] - mean[c]);
            }
        }
    }
    if (!merge_all<THREADS>(a.reduction, t, sums) || !has_channels) return;
    f64 pixels = f64(a.reduction.parts.pixels);
#pragma unroll
    for (int i = 0; i < WIDTH; i++)
    {
        i32 c = t.channel + i;
        f64 inverse = a.inverse[c], k = a.gamma[c] * inverse, sum = sums.values[i], product = sums.values[WIDTH + i] * inverse;
        a.dbeta[c] = f32(sum);
        a.dgamma[c] = f32(product);
        a.coefficients[c] = f32(k);
        a.coefficients[a.pitch + c] = f32(-k * inverse * product / pixels);
        a.coefficients[2 * a.pitch + c] = f32(-k * sum / pixels);
        a.coefficients[3 * a.pitch + c] = mean[i];
    }
}
