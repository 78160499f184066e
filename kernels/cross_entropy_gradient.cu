// Gradient of a weighted cross-entropy:
//
//   dlogits[p, c] = weights[p] * dloss * (softmax(logits[p, ...])[c] - (c == labels[p]))   or is added to, with ACCUMULATE
//
// logits and dlogits are channel slices (pointer to the first class, pixel stride) that don't overlap, labels a byte and weights an fp32 number a
// pixel, dloss a scalar in device memory. Of a pixel of weight 0 neither label nor logits are read: its gradient is 0 whatever they are.
//
// Defines   ACCUMULATE  0 or 1
// Launch    blocks of 256 threads, grid-stride over pixels
// Shared    none
//
// LANES = 8 threads share a pixel, as in ohem_losses.cu; what they read a second and third time comes from L1.
//
// Bytes: logits and labels of the pixels that have a weight, weights and dlogits once; with ACCUMULATE dlogits twice. Flops: about 8 a logit.
#include "overlap.cuh"
#include "types.cuh"

constexpr int THREADS = 256, LANES = 8, PIXELS = THREADS / LANES;

struct Arguments
{
    const f32 *logits;
    const u8 *labels;
    const f32 *weights;
    const f32 *dloss;
    f32 *dlogits;
    i64 pixels;
    i32 stride, gradient_stride, classes;
    i32 padding;
};

extern "C" __global__ void __launch_bounds__(THREADS) cross_entropy_gradient(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    i32 lane = threadIdx.x % LANES, own = threadIdx.x / LANES;
    f32 dloss = load_one(a.dloss);
    // All threads of a block go round as often, so that warps are whole where they shuffle.
    for (i64 first = i64(blockIdx.x) * PIXELS; first < a.pixels; first += i64(gridDim.x) * PIXELS)
    {
        i64 pixel = first + own;
        f32 weight = pixel < a.pixels ? load_one(a.weights + pixel) : 0, factor = weight * dloss;
        bool counts = weight != 0;
        i32 classes = counts ? a.classes : 0;
        const f32 *logits = a.logits + pixel * a.stride;
        f32 *target = a.dlogits + pixel * a.gradient_stride;
        f32 maximum = -__int_as_float(0x7f800000), sum = 0;
        for (i32 c = lane; c < classes; c += LANES) maximum = fmaxf(maximum, load_one(logits + c));
#pragma unroll
        for (int offset = 1; offset < LANES; offset *= 2) maximum = fmaxf(maximum, __shfl_xor_sync(0xffffffff, maximum, offset));
        for (i32 c = lane; c < classes; c += LANES) sum += expf(load_one(logits + c) - maximum);
#pragma unroll
        for (int offset = 1; offset < LANES; offset *= 2) sum += __shfl_xor_sync(0xffffffff, sum, offset);
        if (counts)
        {
            i32 label = a.labels[pixel];
            f32 scale = factor / sum;
            for (i32 c = lane; c < classes; c += LANES)
            {
                f32 gradient = expf(load_one(logits + c) - maximum) * scale - (c == label ? factor : 0);
#if ACCUMULATE
                gradient += target[c];
#endif
                target[c] = gradient;
            }
        }
#if !ACCUMULATE
        else if (pixel < a.pixels)
        {
            for (i32 c = lane; c < a.classes; c += LANES) target[c] = 0;
        }
#endif
    }
}
