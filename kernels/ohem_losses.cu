// The first of the launches for a cross-entropy with hard example mining (ohem.cuh): each pixel's loss, and how many are to be kept.
//
//   losses[p] = log(sum of exp(logits[p, ...])) - logits[p, label]; NaN where the label is neither a class nor the ignored id: whoever hands
//               labels over has looked at them, and one that got through shows in the loss
//   kept      = the number of pixels that are not ignored and whose loss is not <= cutoff, or least = floor(min_kept * pixels that are not ignored)
//               where that is more: then the hardest pixels fill up. A NaN is the hardest
//
// logits is a channel slice (pointer to the first class, pixel stride), labels a byte a pixel. A cutoff of -1, which is an ignored pixel's loss,
// keeps all others.
//
// Launch    blocks of 256 threads, grid-stride over pixels
// Shared    36 bytes
//
// LANES = 8 threads share a pixel: a warp's load is of neighbouring classes of four pixels, and 19 classes take three. A thread a pixel would touch
// 32 sectors with each load, or stage them; a warp a pixel would leave 13 of 32 lanes idle and sum in five steps. The second pass reads from L1.
//
// Bytes: logits and labels once, losses once. Flops: about 4 a logit.
#include "ohem.cuh"
#include "overlap.cuh"

constexpr int LANES = 8, PIXELS = THREADS / LANES;

struct Arguments
{
    const f32 *logits;
    const u8 *labels;
    f32 *losses;
    Selection *selection;
    f64 min_kept;
    i32 pixels, stride, classes, ignore;
    f32 cutoff;
    i32 padding;
};

extern "C" __global__ void __launch_bounds__(THREADS) ohem_losses(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    i32 lane = threadIdx.x % LANES, own = threadIdx.x / LANES;
    u32 valid = 0, hard = 0;
    // All threads of a block go round as often, so that warps are whole where they shuffle.
    for (i64 first = i64(blockIdx.x) * PIXELS; first < a.pixels; first += i64(gridDim.x) * PIXELS)
    {
        i64 pixel = min(first + own, i64(a.pixels - 1));
        const f32 *logits = a.logits + pixel * a.stride;
        f32 maximum = -__int_as_float(0x7f800000), sum = 0;
        for (i32 c = lane; c < a.classes; c += LANES) maximum = fmaxf(maximum, load_one(logits + c));
#pragma unroll
        for (int offset = 1; offset < LANES; offset *= 2) maximum = fmaxf(maximum, __shfl_xor_sync(0xffffffff, maximum, offset));
        for (i32 c = lane; c < a.classes; c += LANES) sum += expf(load_one(logits + c) - maximum);
#pragma unroll
        for (int offset = 1; offset < LANES; offset *= 2) sum += __shfl_xor_sync(0xffffffff, sum, offset);
        if (lane != 0 || first + own >= a.pixels) continue;
        i32 label = a.labels[pixel];
        f32 loss = __uint_as_float(IGNORED);
        if (label != a.ignore)
        {
            loss = label < a.classes ? logf(sum) + (maximum - load_one(logits + label)) : __uint_as_float(NOT_A_NUMBER);
            // Of all its forms, one that orders above infinity.
            if (loss != loss) loss = __uint_as_float(NOT_A_NUMBER);
            valid++;
            if (!(loss <= a.cutoff)) hard++;
        }
        a.losses[pixel] = loss;
    }
    u32 block_valid, block_hard;
    sum_before(valid, block_valid);
    sum_before(hard, block_hard);
    Selection *s = a.selection;
    if (threadIdx.x == 0)
    {
        atomicAdd(&s->valid, block_valid);
        atomicAdd(&s->hard, block_hard);
    }
    if (!is_last_block(&s->arrivals) || threadIdx.x != 0) return;
    u32 all_valid = atomicExch(&s->valid, 0), all_hard = atomicExch(&s->hard, 0), least = u32(f64(all_valid) * a.min_kept);
    s->kept = max(all_hard, least);
    s->fills = all_hard < least;
    s->boundary = 0;
    s->wanted = least;
}
