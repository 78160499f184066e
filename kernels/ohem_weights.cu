// The last of the launches for a cross-entropy with hard example mining (ohem.cuh): which pixels are kept, and the loss.
//
//   weights[p] = 1 / kept for the pixels that are kept, else 0;   loss = the mean of their losses, 0 where there are none
//
// Kept are the pixels that are not ignored and whose loss is not <= cutoff; or, where the hardest fill up, those whose loss is larger than the
// boundary and the first `wanted` in pixel order of those that equal it. The weights replace the losses.
//
// Launch    blocks of 256 threads, each with a chunk of the pixels, the same as ohem_boundary.cu's
// Shared    about 0.1 KiB
//
// A thread adds up its pixels' losses in fp64, a block its threads' sums and the last block the blocks', each in order.
//
// Bytes: losses once, weights once. Flops (fp64): one a kept pixel.
#include "ohem.cuh"
#include "overlap.cuh"

struct Arguments
{
    // Losses, then weights.
    f32 *weights;
    f32 *loss;
    Selection *selection;
    // [block]
    const u32 *first_ties;
    f64 *sums;
    i32 pixels, chunk;
    f32 cutoff;
    i32 padding;
};

extern "C" __global__ void __launch_bounds__(THREADS) ohem_weights(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    Selection *s = a.selection;
    bool fills = s->fills;
    u32 kept = s->kept, boundary = s->boundary, wanted = s->wanted, tie = fills ? a.first_ties[blockIdx.x] : 0;
    f32 weight = kept > 0 ? 1.0f / f32(kept) : 0;
    f64 sum = 0;
    i64 first = i64(blockIdx.x) * a.chunk, end = min(first + a.chunk, i64(a.pixels));
    for (i64 i = first; i < end; i += THREADS)
    {
        i64 pixel = i + threadIdx.x;
        f32 loss = pixel < end ? a.weights[pixel] : __uint_as_float(IGNORED);
        bool keeps = !(loss <= a.cutoff);
        if (fills)
        {
            u32 bits = __float_as_uint(loss), ties;
            bool is_tie = bits == boundary;
            u32 number = tie + sum_before(is_tie, ties);
            keeps = (bits & SIGN) == 0 && (bits > boundary || (is_tie && number < wanted));
            tie += ties;
        }
        if (pixel < end) a.weights[pixel] = keeps ? weight : 0;
        if (keeps) sum += f64(loss);
    }
    sum = sum_of_block(sum);
    if (threadIdx.x == 0) a.sums[blockIdx.x] = sum;
    if (!is_last_block(&s->arrivals)) return;
    sum = 0;
    for (u32 i = threadIdx.x; i < gridDim.x; i += THREADS) sum += a.sums[i];
    sum = sum_of_block(sum);
    if (threadIdx.x == 0) *a.loss = kept > 0 ? f32(sum / f64(kept)) : 0;
}
