// A batch's statistics, and what normalises with them: the first half of a batch norm in training, whose second is scaled_copy.
//
//   mean[c] = sum over p of x[p, c] / pixels,   v[c] = sum over p of (x[p, c] - mean[c])^2 / pixels,   inverse[c] = 1 / sqrt(v[c] + epsilon)
//   running_mean[c] += momentum * (mean[c] - running_mean[c])
//   running_variance[c] += momentum * (v[c] * pixels / max(pixels - 1, 1) - running_variance[c])
//   scale[c] = gamma[c] * inverse[c],   shift[c] = beta[c] - mean[c] * scale[c]
//
// x is a channel slice (pointer to the first channel, pixel stride); all others are fp32 values without gaps, none of which overlap.
//
// Defines   WIDTH  channels a thread takes: 4 where the slice allows, else 1
// Launch    grid (chunks of the pixels, groups of channels), block THREADS = 256 (channel_parts.cuh)
// Shared    up to 4.5 KiB
//
// Sums of squares cancel where the mean is large against the deviation, so count, mean and sum of squared differences are kept instead, pixel by
// pixel (Welford) and state by state (Chan): x is read once, values that are all equal have no variance at all, and fp32 is enough. The last step is
// fp64, and scale and shift come from the rounded statistics, as on the CPU: the gradient, which has only these, sees what the forward pass did.
//
// Bytes: x once. Flops: 6 an element.
#include "channel_parts.cuh"
#include "overlap.cuh"

constexpr int THREADS = 256, PIXELS = 4;

struct Arguments
{
    ChannelReduction reduction;
    const f32 *x;
    const f32 *gamma;
    const f32 *beta;
    f32 *running_mean;
    f32 *running_variance;
    f32 *mean;
    f32 *inverse;
    f32 *scale;
    f32 *shift;
    i32 x_stride;
    f32 epsilon, momentum;
    i32 padding;
};

struct Moments
{
    // The pixels' number, each channel's mean, then each channel's sum of squared differences from it.
    static constexpr int COUNT = 1 + 2 * WIDTH;
    f32 values[COUNT];

    // Takes in pixels of channel i that are `share` of those there are now; weight = share * those there were before.
    __device__ inline void absorb(int i, f32 mean, f32 squares, f32 share, f32 weight)
    {
        f32 &own = values[1 + i], difference = mean - own;
        // An infinite value makes the mean infinite, not NaN, as a plain sum would.
        own = fabsf(difference) < __int_as_float(0x7f800000) ? own + difference * share : own + mean;
        values[1 + WIDTH + i] += squares + difference * weight * difference;
    }

    __device__ inline void add(const f32 (&x)[WIDTH])
    {
        f32 before = values[0], share = 1 / (before + 1);
        values[0] = before + 1;
#pragma unroll
        for (int i = 0; i < WIDTH; i++) absorb(i, x[i], 0, share, share * before);
    }

    __device__ inline void merge(const Moments &other)
    {
        if (other.values[0] == 0) return;
        f32 before = values[0], share = other.values[0] / (before + other.values[0]);
        values[0] = before + other.values[0];
#pragma unroll
        for (int i = 0; i < WIDTH; i++) absorb(i, other.values[1 + i], other.values[1 + WIDTH + i], share, share * before);
    }
};

extern "C" __global__ void __launch_bounds__(THREADS) batch_norm_statistics(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    ThreadPart t = part_of_thread<THREADS, WIDTH>(a.reduction.parts);
    Moments moments = {};
    for (i64 p = t.first; p < t.end; p += PIXELS * t.rows)
    {
        f32 x[PIXELS][WIDTH];
#pragma unroll
        for (int i = 0; i < PIXELS; i++)
        {
            if (p + i * t.rows < t.end) load_plain(a.x + (p + i * t.rows) * a.x_stride + t.channel, x[i]);
        }
#pragma unroll
        for (int i = 0; i < PIXELS; i++)
        {
            if (p + i * t.rows < t.end) moments.add(x[i]);
        }
    }
    if (!merge_all<THREADS>(a.reduction, t, moments) || t.channel >= a.reduction.parts.channels) return;
    f64 pixels = f64(a.reduction.parts.pixels), unbiased = pixels / (pixels > 1 ? pixels - 1 : 1);
#pragma unroll
    for (int i = 0; i < WIDTH; i++)
    {
        i32 c = t.channel + i;
        f64 mean = moments.values[1 + i], variance = moments.values[1 + WIDTH + i] / pixels;
        f32 inverse = f32(1 / sqrt(variance + f64(a.epsilon)));
        a.mean[c] = f32(mean);
        a.inverse[c] = inverse;
        f64 running_mean = a.running_mean[c], running_variance = a.running_variance[c];
        a.running_mean[c] = f32(running_mean + a.momentum * (mean - running_mean));
        a.running_variance[c] = f32(running_variance + a.momentum * (variance * unbiased - running_variance));
        f32 scale = f32(f64(a.gamma[c]) * inverse);
        a.scale[c] = scale;
        a.shift[c] = f32(a.beta[c] - mean * scale);
    }
}
