// One digit of the boundary of a cross-entropy with hard example mining (ohem.cuh): of the losses whose higher digits are the boundary's, how many
// have which digit, and which of these digits the boundary has. Does nothing where the hard pixels are enough.
//
//   boundary |= digit << shift, the largest digit with `wanted` losses at or above it;   wanted -= those above
//
// With the last digit also first_ties[b], how many losses that equal the boundary lie in the chunks before block b's.
//
// Launch    blocks of 256 threads, each with a chunk of the pixels, the same in all launches
// Shared    8 KiB
//
// A block counts in shared memory and adds what it found to counts in device memory, where the last block looks; these are zero before the first
// launch, and each launch leaves zeros. Of the last digit every block also leaves its own counts.
//
// Bytes: losses once; with the last digit 2 KiB a block twice. Flops: none.
#include "ohem.cuh"
#include "overlap.cuh"

struct Arguments
{
    const f32 *losses;
    Selection *selection;
    // [BUCKETS]
    u32 *counts;
    // [block][LAST_BUCKETS]
    u32 *last_counts;
    // [block]
    u32 *first_ties;
    i32 pixels, chunk, shift;
    i32 padding;
};

extern "C" __global__ void __launch_bounds__(THREADS) ohem_boundary(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    __shared__ u32 counts[BUCKETS], chosen;
    Selection *s = a.selection;
    if (!s->fills) return;
    bool is_last = a.shift == 0;
    u32 buckets = is_last ? LAST_BUCKETS : BUCKETS, known = ~((buckets << a.shift) - 1), boundary = s->boundary, wanted = s->wanted;
    for (u32 i = threadIdx.x; i < BUCKETS; i += THREADS) counts[i] = 0;
    __syncthreads();
    i64 first = i64(blockIdx.x) * a.chunk, end = min(first + a.chunk, i64(a.pixels));
    for (i64 i = first + threadIdx.x; i < end; i += THREADS)
    {
        u32 bits = __float_as_uint(load_one(a.losses + i));
        if ((bits & (known | SIGN)) == boundary) atomicAdd(counts + (bits >> a.shift & (buckets - 1)), 1u);
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < buckets; i += THREADS)
    {
        if (counts[i] > 0) atomicAdd(a.counts + i, counts[i]);
        if (is_last) a.last_counts[blockIdx.x * LAST_BUCKETS + i] = counts[i];
    }
    if (!is_last_block(&s->arrivals)) return;

    // Each thread has a few neighbouring digits, the first thread the largest.
    constexpr u32 OWN = BUCKETS / THREADS;
    u32 own[OWN], sum = 0, total;
#pragma unroll
    for (u32 i = 0; i < OWN; i++)
    {
        own[i] = atomicExch(a.counts + (BUCKETS - 1 - OWN * threadIdx.x - i), 0);
        sum += own[i];
    }
    u32 above = sum_before(sum, total);
#pragma unroll
    for (u32 i = 0; i < OWN; i++)
    {
        if (above < wanted && wanted <= above + own[i])
        {
            chosen = BUCKETS - 1 - OWN * threadIdx.x - i;
            s->boundary = boundary | chosen << a.shift;
            s->wanted = wanted - above;
        }
        above += own[i];
    }
    if (!is_last) return;
    __syncthreads();
    u32 before = 0;
    for (u32 i = 0; i < gridDim.x; i += THREADS)
    {
        u32 block = i + threadIdx.x, ties = block < gridDim.x ? a.last_counts[block * LAST_BUCKETS + chosen] : 0;
        u32 earlier = before + sum_before(ties, total);
        if (block < gridDim.x) a.first_ties[block] = earlier;
        before += total;
    }
}
